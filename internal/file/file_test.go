package file_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
	"github.com/vogter/vogter/internal/turns"
)

func input(s *subject.Subject, d *dataset.Dataset) file.UploadInput {
	return file.UploadInput{Subject: s.ID, Dataset: d.ID, Name: personal.NewText("brev.pdf"), MediaType: "application/pdf; x=y", Size: -1}
}

func TestUpload(t *testing.T) {
	w := world.Start(t)
	one, two := w.As(testenv.One), w.As(testenv.Two)
	person, set := w.Subject(one, "A-1"), w.Dataset(one, "Case", world.Field("letter", dataset.TypeFile))
	marker := rand.Text()
	content := strings.Repeat(marker, 10_000)
	for _, size := range []int64{-1, int64(len(content))} {
		in := input(person, set)
		in.Size = size
		f, err := w.Files.Upload(one, in, strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(content))
		if f.State != file.Stored || f.Size != int64(len(content)) || f.MediaType != "application/pdf" || !f.SHA256.Equal(personal.Bytes(sum[:])) {
			t.Errorf("got %+v", f)
		}
		got, r, err := w.Files.Open(one, f.ID)
		if err != nil {
			t.Fatal(err)
		}
		back, err := io.ReadAll(r)
		if err != nil || string(back) != content || got.Name.Reveal() != "brev.pdf" || !got.SHA256.Equal(f.SHA256) {
			t.Errorf("read back %d bytes of %+v: %v", len(back), got, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if found := w.Storage.Contains(t, marker); len(found) > 0 {
			t.Errorf("plaintext in %v", found)
		}
		if got := w.Entries(one, f.ID); fmt.Sprint(got) != "[file.upload file.store]" {
			t.Errorf("audit log has %v", got)
		}
		if _, err := w.Files.Get(one, f.ID); err != nil {
			t.Error(err)
		}
		if got := w.Entries(one, f.ID); fmt.Sprint(got) != "[file.upload file.store file.read]" {
			t.Errorf("audit log has %v", got)
		}
		for what, ctx := range map[string]context.Context{"another tenant": two} {
			if _, err := w.Files.Get(ctx, f.ID); !errors.Is(err, file.ErrNotFound) {
				t.Errorf("%s: got %v, want NOT_FOUND", what, err)
			}
			if _, _, err := w.Files.Open(ctx, f.ID); !errors.Is(err, file.ErrNotFound) {
				t.Errorf("%s: got %v, want NOT_FOUND", what, err)
			}
		}
		// The store itself keeps tenants apart, whatever the id says.
		if found, err := w.Files.FindMany(two, []string{f.ID}); err != nil || len(found) > 0 {
			t.Errorf("another tenant finds %v, %v", found, err)
		}
	}
}

func TestUploadRefused(t *testing.T) {
	w := world.Start(t)
	one, two := w.As(testenv.One), w.As(testenv.Two)
	person, set := w.Subject(one, "A-1"), w.Dataset(one, "Case", world.Field("letter", dataset.TypeFile))
	retired := w.Dataset(one, "Old", world.Field("letter", dataset.TypeFile))
	if _, err := w.Datasets.Retire(one, dataset.RetireInput{Dataset: retired.ID, ExpectedVersion: 1}); err != nil {
		t.Fatal(err)
	}
	erased, restricted := w.Subject(one, "A-2"), w.Subject(one, "A-3")
	w.SetState(one, erased, subject.Erased)
	w.SetState(one, restricted, subject.Restricted)
	foreign := w.Subject(two, "A-1")
	tests := []struct {
		name   string
		change func(*file.UploadInput)
		want   errs.Kind
	}{
		{"as it should be", func(*file.UploadInput) {}, ""},
		{"erased person", func(in *file.UploadInput) { in.Subject = erased.ID }, errs.Erased},
		{"restricted person", func(in *file.UploadInput) { in.Subject = restricted.ID }, errs.Precondition},
		{"another tenant's person", func(in *file.UploadInput) { in.Subject = foreign.ID }, errs.NotFound},
		{"unknown person", func(in *file.UploadInput) { in.Subject = id.New(id.Subject, testenv.One) }, errs.NotFound},
		{"no person", func(in *file.UploadInput) { in.Subject = "" }, errs.NotFound},
		{"unknown dataset", func(in *file.UploadInput) { in.Dataset = id.New(id.Dataset, testenv.One) }, errs.NotFound},
		{"person as dataset", func(in *file.UploadInput) { in.Dataset = person.ID }, errs.NotFound},
		{"retired dataset", func(in *file.UploadInput) { in.Dataset = retired.ID }, errs.Precondition},
		{"no name", func(in *file.UploadInput) { in.Name = personal.Text{} }, errs.Invalid},
		{"name with a folder", func(in *file.UploadInput) { in.Name = personal.NewText("a/b") }, errs.Invalid},
		{"name with a line break", func(in *file.UploadInput) { in.Name = personal.NewText("a\r\nb") }, errs.Invalid},
		{"broken name", func(in *file.UploadInput) { in.Name = personal.NewText("\xff") }, errs.Invalid},
		{"long name", func(in *file.UploadInput) { in.Name = personal.NewText(strings.Repeat("æ", 200)) }, errs.Invalid},
		{"no media type", func(in *file.UploadInput) { in.MediaType = "" }, ""},
		{"odd media type", func(in *file.UploadInput) { in.MediaType = "pdf" }, errs.Invalid},
		{"announced too large", func(in *file.UploadInput) { in.Size = file.MaxSize + 1 }, errs.Limited},
		{"announced longer", func(in *file.UploadInput) { in.Size = 8 }, errs.Invalid},
		{"announced shorter", func(in *file.UploadInput) { in.Size = 6 }, errs.Invalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := w.Count(one, "files", bson.D{{Key: "state", Value: bson.D{{Key: "$ne", Value: file.Removing}}}})
			in := input(person, set)
			tt.change(&in)
			_, err := w.Files.Upload(one, in, strings.NewReader("content"))
			if errs.KindOf(err) != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			after := w.Count(one, "files", bson.D{{Key: "state", Value: bson.D{{Key: "$ne", Value: file.Removing}}}})
			if err != nil && after != before {
				t.Errorf("%d rows are left", after-before)
			}
		})
	}
	w.Work(one)
	if n := w.Count(one, "files", bson.D{{Key: "state", Value: file.Removing}}); n > 0 {
		t.Errorf("%d rows are still being removed", n)
	}
}

// What an upload leaves when it breaks: no row, no object, no part.
func TestUploadBreaks(t *testing.T) {
	w := world.Start(t)
	one := w.As(testenv.One)
	person, set := w.Subject(one, "A-1"), w.Dataset(one, "Case", world.Field("letter", dataset.TypeFile))
	some := func(n int64) io.Reader { return io.LimitReader(rand.Reader, n) }
	failed := errors.New("the line broke")
	tests := []struct {
		name string
		r    io.Reader
		want error
	}{
		{"truncated", io.MultiReader(some(100), iotest.ErrReader(io.ErrUnexpectedEOF)), file.ErrTruncated},
		{"truncated in its third part", io.MultiReader(some(40<<20), iotest.ErrReader(io.ErrUnexpectedEOF)), file.ErrTruncated},
		{"failed", io.MultiReader(some(100), iotest.ErrReader(failed)), failed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := w.Files.Upload(one, input(person, set), tt.r); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			w.Work(one)
			if n := w.Count(one, "files", bson.D{}); n > 0 {
				t.Errorf("%d rows are left", n)
			}
			if found := w.Storage.Contains(t, string(id.File)+"_"); len(found) > 0 {
				t.Errorf("objects are left: %v", found)
			}
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(one)
		r := iotest.OneByteReader(io.MultiReader(some(10), readerFunc(func(p []byte) (int, error) {
			cancel()
			return len(p), nil
		})))
		if _, err := w.Files.Upload(ctx, input(person, set), r); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
		w.Work(one)
		if n := w.Count(one, "files", bson.D{}); n > 0 {
			t.Errorf("%d rows are left", n)
		}
	})
	t.Run("erased meanwhile", func(t *testing.T) {
		person := w.Subject(one, "A-9")
		r := io.MultiReader(some(10), readerFunc(func([]byte) (int, error) {
			w.SetState(one, person, subject.Erasing)
			return 0, io.EOF
		}))
		if _, err := w.Files.Upload(one, input(person, set), r); !errors.Is(err, subject.ErrErased) {
			t.Errorf("got %v, want ERASED", err)
		}
		w.Work(one)
		if n := w.Count(one, "files", bson.D{}); n > 0 {
			t.Errorf("%d rows are left", n)
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// So many uploads of one caller run at once, and no more, while others go on.
func TestUploadsAtOnce(t *testing.T) {
	w := world.Start(t)
	one, two := w.As(testenv.One), w.As(testenv.Two)
	person, set := w.Subject(one, "A-1"), w.Dataset(one, "Case", world.Field("letter", dataset.TypeFile))
	const uploads = 2
	var begun, ended sync.WaitGroup
	begun.Add(uploads)
	release := make(chan struct{})
	for range uploads {
		once := sync.OnceFunc(begun.Done)
		ended.Go(func() {
			r := readerFunc(func([]byte) (int, error) {
				once()
				<-release
				return 0, io.EOF
			})
			if _, err := w.Files.Upload(one, input(person, set), r); err != nil {
				t.Errorf("upload: %v", err)
			}
		})
	}
	begun.Wait()
	ctx, cancel := context.WithTimeout(one, 100*time.Millisecond)
	defer cancel()
	if _, err := w.Files.Upload(ctx, input(person, set), strings.NewReader("one more")); !errors.Is(err, turns.ErrBusy) {
		t.Errorf("got %v, want LIMITED", err)
	}
	other, theirs := w.Subject(two, "A-1"), w.Dataset(two, "Case", world.Field("letter", dataset.TypeFile))
	if _, err := w.Files.Upload(two, input(other, theirs), strings.NewReader("of another tenant")); err != nil {
		t.Errorf("another tenant: %v", err)
	}
	close(release)
	ended.Wait()
	if _, err := w.Files.Upload(one, input(person, set), strings.NewReader("one more")); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestTooLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("sends 1 GiB")
	}
	w := world.Start(t)
	one := w.As(testenv.One)
	person, set := w.Subject(one, "A-1"), w.Dataset(one, "Case", world.Field("letter", dataset.TypeFile))
	if _, err := w.Files.Upload(one, input(person, set), io.LimitReader(zeros{}, file.MaxSize+1)); !errors.Is(err, file.ErrTooLarge) {
		t.Errorf("got %v, want LIMITED", err)
	}
	if found := w.Storage.Contains(t, string(id.File)+"_"); len(found) > 0 {
		t.Errorf("objects are left: %v", found)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestAttach(t *testing.T) {
	w := world.Start(t)
	one, two := w.As(testenv.One), w.As(testenv.Two)
	set := w.Dataset(one, "Case", world.Field("letter", dataset.TypeFile))
	other := w.Dataset(one, "Other", world.Field("letter", dataset.TypeFile))
	anna, bo := w.Subject(one, "A-1"), w.Subject(one, "A-2")
	letter := w.Upload(one, anna, set, "a.txt", "letter")
	foreign := w.Upload(two, w.Subject(two, "A-1"), w.Dataset(two, "Case", world.Field("letter", dataset.TypeFile)), "a.txt", "letter")
	write := func(s *subject.Subject, d *dataset.Dataset, fileID string) (*record.Record, error) {
		return w.Records.Write(one, record.WriteInput{
			Subject: s.ID, Dataset: d.ID, Origin: record.Provided, Fields: []record.FieldInput{world.Value("letter", fileID)},
		})
	}
	refused := []struct {
		name string
		s    *subject.Subject
		d    *dataset.Dataset
		file string
		want errs.Kind
	}{
		{"another person", bo, set, letter.ID, errs.Precondition},
		{"another dataset", anna, other, letter.ID, errs.Precondition},
		{"unknown", anna, set, id.New(id.File, testenv.One), errs.NotFound},
		{"another tenant's", anna, set, foreign.ID, errs.Invalid},
	}
	for _, tt := range refused {
		if _, err := write(tt.s, tt.d, tt.file); errs.KindOf(err) != tt.want {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
	r, err := write(anna, set, letter.ID)
	if err != nil {
		t.Fatal(err)
	}
	if f, err := w.Files.Get(one, letter.ID); err != nil || f.State != file.Attached || f.Record != r.ID {
		t.Errorf("got %+v, %v", f, err)
	}
	if _, err := write(anna, set, letter.ID); !errors.Is(err, file.ErrState) {
		t.Errorf("attached twice: %v", err)
	}
	if err := w.Files.Remove(one, letter.ID); !errors.Is(err, file.ErrState) {
		t.Errorf("a living file was removed: %v", err)
	}

	// Another document takes its place: the first one goes.
	second := w.Upload(one, anna, set, "b.txt", "second letter")
	if r, err = w.Records.Update(one, record.UpdateInput{
		ID: r.ID, ExpectedVersion: r.Version, Fields: []record.FieldInput{world.Value("letter", second.ID)},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Files.Get(one, letter.ID); !errors.Is(err, file.ErrNotFound) {
		t.Errorf("the first letter is still there: %v", err)
	}
	w.Work(one)
	if found := w.Storage.Contains(t, letter.ID); len(found) > 0 {
		t.Errorf("the first letter is still in %v", found)
	}
	if len(w.Storage.Contains(t, second.ID)) == 0 {
		t.Error("the second letter is gone")
	}
	if err := w.Records.Delete(one, record.DeleteInput{ID: r.ID}); err != nil {
		t.Fatal(err)
	}
	w.Work(one)
	if found := w.Storage.Contains(t, second.ID); len(found) > 0 {
		t.Errorf("the second letter is still in %v", found)
	}
	if err := w.Files.Remove(one, second.ID); err != nil {
		t.Errorf("remove again: %v", err)
	}
	if n := w.Count(one, "files", bson.D{{Key: "tenant", Value: testenv.One}}); n > 0 {
		t.Errorf("%d rows are left", n)
	}
}

func TestSweep(t *testing.T) {
	w := world.Start(t)
	one, two := w.As(testenv.One), w.As(testenv.Two)
	set := w.Dataset(one, "Case", world.Field("letter", dataset.TypeFile))
	person := w.Subject(one, "A-1")
	orphan, attached := w.Upload(one, person, set, "a.txt", "orphan"), w.Upload(one, person, set, "b.txt", "attached")
	w.Record(one, person, set, world.Value("letter", attached.ID))
	foreign := w.Upload(two, w.Subject(two, "B-1"), w.Dataset(two, "Case", world.Field("letter", dataset.TypeFile)), "a.txt", "orphan too")
	gone := w.Subject(one, "A-2")
	ofGone := w.Upload(one, gone, set, "a.txt", "of a person erased since")
	w.SetState(one, gone, subject.Erased)
	sweep := func() {
		t.Helper()
		if err := w.Files.Sweep(tenant.System(one, "test")); err != nil {
			t.Fatal(err)
		}
		w.Work(one)
	}
	sweep()
	if n := w.Count(one, "files", bson.D{}); n != 4 {
		t.Errorf("%d files are left before their time", n)
	}
	w.Sleep(file.OrphanAge - time.Minute)
	fresh := w.Upload(one, person, set, "c.txt", "fresh")
	w.Sleep(2 * time.Minute)
	sweep()
	sweep()
	for _, f := range []*file.File{orphan, foreign, ofGone} {
		if found := w.Storage.Contains(t, f.ID); len(found) > 0 {
			t.Errorf("%s is still in %v", f.ID, found)
		}
	}
	for _, f := range []*file.File{attached, fresh} {
		if _, err := w.Files.Get(one, f.ID); err != nil {
			t.Errorf("%s is gone: %v", f.ID, err)
		}
	}
	if err := w.Files.Sweep(one); !errors.Is(err, tenant.ErrSystem) {
		t.Errorf("a tenant swept: %v", err)
	}
}

func TestErasedPerson(t *testing.T) {
	w := world.Start(t)
	one := w.As(testenv.One)
	person, set := w.Subject(one, "A-1"), w.Dataset(one, "Case", world.Field("letter", dataset.TypeFile))
	f := w.Upload(one, person, set, "a.txt", "letter")
	w.SetState(one, person, subject.Erasing)
	if _, err := w.Files.Get(one, f.ID); errs.KindOf(err) != errs.Erased {
		t.Errorf("got %v, want ERASED", err)
	}
	if _, _, err := w.Files.Open(one, f.ID); errs.KindOf(err) != errs.Erased {
		t.Errorf("got %v, want ERASED", err)
	}
}

func TestHandler(t *testing.T) {
	w := world.Start(t)
	one := w.As(testenv.One)
	person, set := w.Subject(one, "A-1"), w.Dataset(one, "Case", world.Field("letter", dataset.TypeFile))
	handler := file.Handler(w.Files, testenv.Authorizer(t))
	who := authz.FromContext(one)
	caller := who
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(rw, r.WithContext(authz.NewContext(tenant.NewContext(r.Context(), caller.Tenant), caller)))
	}))
	t.Cleanup(server.Close)
	query := url.Values{"subject": {person.ID}, "dataset": {set.ID}}.Encode()
	reader := who
	reader.Grants = []authz.Permission{authz.FileRead}
	tests := []struct {
		name   string
		as     authz.Principal
		query  string
		header string
		status int
		code   string
	}{
		{"plain name", who, query, "brev.pdf", 201, ""},
		{"percent-encoded", who, query, "%C3%A6ble.pdf", 201, ""},
		{"RFC 8187", who, query, "UTF-8'da'%C3%A6ble%27s.pdf", 201, ""},
		{"no name", who, query, "", 400, "INVALID"},
		{"broken escape", who, query, "%zz", 400, "INVALID"},
		{"broken UTF-8", who, query, "%ff", 400, "INVALID"},
		{"name in the URL", who, query + "&name=x", "brev.pdf", 400, "INVALID"},
		{"broken query", who, "subject=%zz", "brev.pdf", 400, "INVALID"},
		{"no permission", reader, query, "brev.pdf", 403, "FORBIDDEN"},
		{"signed out", authz.Principal{Tenant: testenv.One}, query, "brev.pdf", 401, "UNAUTHENTICATED"},
		{"another tenant", authz.FromContext(w.As(testenv.Two)), query, "brev.pdf", 404, "NOT_FOUND"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			caller = tt.as
			req, err := http.NewRequestWithContext(one, http.MethodPut, server.URL+"/v1/uploads?"+tt.query, bytes.NewReader([]byte("content")))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set(file.NameHeader, tt.header)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			var answer struct {
				ID, Code, Message string
				Size              int64
			}
			if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != tt.status || answer.Code != tt.code {
				t.Errorf("got %d %+v", res.StatusCode, answer)
			}
			if tt.status == 201 && (answer.Size != 7 || id.Check(id.File, testenv.One, answer.ID) != nil) {
				t.Errorf("got %+v", answer)
			}
		})
	}
	if n := w.Count(one, "audit", bson.D{
		{Key: "tenant", Value: testenv.One},
		{Key: "action", Value: "file.upload"},
		{Key: "outcome", Value: "REFUSED"},
		{Key: "actor.id", Value: reader.ID},
		{Key: "policy", Value: "none"},
	}); n != 1 {
		t.Errorf("%d refusals in the audit log", n)
	}
	t.Run("truncated", func(t *testing.T) {
		caller = who
		before := w.Count(one, "files", bson.D{})
		r, pw := io.Pipe()
		go func() {
			_, _ = pw.Write([]byte("half"))
			pw.CloseWithError(errors.New("the line broke"))
		}()
		req, err := http.NewRequestWithContext(one, http.MethodPut, server.URL+"/v1/uploads?"+query, r)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = 100
		req.Header.Set(file.NameHeader, "a")
		if res, err := http.DefaultClient.Do(req); err == nil {
			res.Body.Close()
			t.Errorf("got %d", res.StatusCode)
		}
		server.Close() // waits for the handler
		w.Work(one)
		if after := w.Count(one, "files", bson.D{}); after != before {
			t.Errorf("%d rows are left", after-before)
		}
	})
}
