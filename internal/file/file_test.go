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
