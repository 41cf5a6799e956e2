package e2e_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/minio/minio-go/v7"
	"github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/local"
)

// TestNoPlaintext plants 200 values, and looks for them and for all that other
// tests have planted wherever bytes of the platform lie. Only Kratos' own
// database, which holds the members' addresses, is left out.
func TestNoPlaintext(t *testing.T) {
	p := running(t)
	p.indexed(t)
	plantAll(t, p)
	began, s := time.Now(), newScanner(p.secrets())

	t.Run("the scanner finds", func(t *testing.T) { tryScanner(t, s) })
	t.Run("Redis", func(t *testing.T) { scanRedis(t, p, s) })
	t.Run("documents", func(t *testing.T) {
		for _, part := range []string{local.PartData, local.PartKeys} {
			n := p.documents(t, part, func(place string, raw []byte) { s.scan(t, part+" "+place, bytes.NewReader(raw)) })
			if n == 0 {
				t.Errorf("the part %s has no documents", part)
			}
			t.Logf("%s: %d documents", part, n)
		}
	})
	t.Run("objects", func(t *testing.T) {
		n := 0
		for _, o := range p.objects(t, "") {
			s.scan(t, "object "+o.Key, strings.NewReader(o.Key))
			if o.IsDeleteMarker {
				continue
			}
			n++
			r := p.object(t, o)
			s.scan(t, "object "+o.Key, r)
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			s.scan(t, "object "+o.Key, strings.NewReader(fmt.Sprint(attributes(t, p, o))))
		}
		if n == 0 {
			t.Error("there are no objects")
		}
	})
	t.Run("files", func(t *testing.T) {
		scanned := scanFiles(t, p.stack.Env().Dir, s)
		for _, folder := range []string{"data", "keys", "redis", "s3/data", "logs", "kms"} {
			if scanned[folder] == 0 {
				t.Errorf("nothing was scanned in %s: %v", folder, scanned)
			}
		}
		t.Logf("bytes by folder: %v", scanned)
	})
	t.Run("mail", func(t *testing.T) {
		untold := slices.DeleteFunc(p.secrets(), func(v string) bool { return slices.Contains(p.told, v) })
		s := newScanner(untold)
		for _, m := range mails(t, p) {
			s.scan(t, "mail "+strconv.Quote(m.Subject), strings.NewReader(m.Subject+m.Text+m.HTML)) // beyond the address
		}
	})
	t.Logf("scanned for %d values in %.1f s", len(p.secrets()), time.Since(began).Seconds())
}

// plantAll has 50 persons in the platform, each with four planted values: by an
// import, by GraphQL, in records, in files and their names, in exports.
func plantAll(t *testing.T, p *platform) {
	t.Helper()
	c, set, before := p.machine(t, first), p.machine(t, first).documents(t), len(p.secrets())
	var lines bytes.Buffer
	for range 25 {
		h := p.someone()
		line, err := json.Marshal(vars{
			"reference": h.reference, "name": vars{"first": h.given, "last": h.family, "official_full": h.name},
			"birthday": h.birthDate, "phone": h.phone, "party": "Independent", "website": "https://" + h.email,
			"districtOffices": []vars{{"address": h.name, "phone": h.phone}},
		})
		if err != nil {
			t.Fatal(err)
		}
		lines.Write(append(line, '\n'))
	}
	began, size := time.Now(), lines.Len()
	sum := c.importLines(t, "mapping=legislators", rand.Text(), &lines)
	if sum.Created != 25 {
		t.Fatalf("imported %+v", sum)
	}
	t.Logf("import: %d lines of %d bytes in %.0f ms", sum.Lines, size, time.Since(began).Seconds()*1e3)

	var asked []export
	for i := range 25 {
		h := p.someone()
		somebody := c.createPerson(t, h.input())
		if found := c.findOne(t, vars{"email": h.email}); found.ID != somebody.ID {
			t.Error("another person is found")
		}
		// Plain, compressed by the exporter, and wide enough to fill blocks.
		content := strings.Repeat(strings.Join([]string{h.name, h.phone, h.email, h.reference}, ";")+"\n", 100)
		file := c.upload(t, somebody, set, h.name+" "+h.reference[len("customer/"):]+".txt", strings.NewReader(content))
		c.write(t, somebody, set, vars{"title": h.name, "document": file})
		if i%5 == 0 {
			asked = append(asked, c.requestExport(t, somebody))
		}
		// Where a value is out of place it is refused, and goes nowhere either.
		refused(t, c, `mutation($input: UpdateSubjectInput!) { updateSubject(input: $input) { subject { id } } }`,
			vars{"input": vars{"id": somebody.ID, "expectedVersion": 1, "phones": []string{h.name}}})
		refused(t, c, `query($id: ID!) { subject(id: $id) { id } }`, vars{"id": h.email})
		c.call(t, http.MethodGet, "/v1/"+url.PathEscape(h.email)+"?q="+url.QueryEscape(h.name), http.NoBody)
	}
	for _, e := range asked {
		if c.job(t, e.Job.ID).State != "SUCCEEDED" {
			c.finish(t, e.Job.ID, time.Minute)
		}
		if a := c.call(t, http.MethodGet, c.grant(t, e.ID).URL, http.NoBody); a.status != http.StatusOK {
			t.Errorf("download: %d %s", a.status, a.body)
		}
	}
	if n := len(p.secrets()) - before; n < 200 {
		t.Errorf("%d values are planted", n)
	}
}

// attributes are what the object storage tells of an object beside its content.
func attributes(t *testing.T, p *platform, o minio.ObjectInfo) minio.ObjectInfo {
	t.Helper()
	client, bucket := p.bucket(t)
	info, err := client.StatObject(t.Context(), bucket, o.Key, minio.StatObjectOptions{VersionID: o.VersionID})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// scanRedis looks through everything that Redis would give out, and has it write
// everything down for the scan of its files.
func scanRedis(t *testing.T, p *platform, s *scanner) {
	t.Helper()
	client, ctx := p.redis(t), t.Context()
	keys := client.Scan(ctx, 0, "*", 1000).Iterator()
	n := 0
	for ; keys.Next(ctx); n++ {
		s.scan(t, "redis key", strings.NewReader(keys.Val()))
		// DUMP packs long values: what the commands of each type give isn't packed.
		for _, get := range []redis.Cmder{
			client.Dump(ctx, keys.Val()), client.Get(ctx, keys.Val()), client.HGetAll(ctx, keys.Val()),
			client.LRange(ctx, keys.Val(), 0, -1), client.SMembers(ctx, keys.Val()), client.ZRange(ctx, keys.Val(), 0, -1),
		} {
			s.scan(t, "redis "+get.Name(), strings.NewReader(get.String()))
		}
	}
	if err := keys.Err(); err != nil || n == 0 {
		t.Errorf("%d keys: %v", n, err)
	}
	// The append-only file tells of what came and went too, until it is rewritten.
	if scanned := scanFiles(t, filepath.Join(p.stack.Env().Dir, "redis"), s); scanned["appendonlydir"] == 0 {
		t.Errorf("nothing was scanned of Redis' files: %v", scanned)
	}
	if err := client.Save(ctx).Err(); err != nil {
		t.Error(err)
	}
	if err := client.BgRewriteAOF(ctx).Err(); err != nil {
		t.Error(err)
	}
	eventually(t, 20*time.Second, "Redis has rewritten its file", func() bool {
		info, err := client.Info(ctx, "persistence").Result()
		return err == nil && strings.Contains(info, "aof_rewrite_in_progress:0") && strings.Contains(info, "aof_rewrite_scheduled:0")
	})
}

// scanFiles looks through the names and bytes of all files under dir, and
// returns how many bytes each of its folders has.
func scanFiles(t *testing.T, dir string, s *scanner) map[string]int64 {
	t.Helper()
	scanned := map[string]int64{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // a file of the document engine that had its day
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if name == "kratos" {
			return filepath.SkipDir
		}
		s.scan(t, "file name", strings.NewReader(name))
		if !entry.Type().IsRegular() {
			return nil
		}
		f, err := os.Open(path)
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		folder, inner, _ := strings.Cut(name, string(filepath.Separator))
		if folder == "s3" {
			inner, _, _ = strings.Cut(inner, string(filepath.Separator))
			folder += "/" + inner
		}
		scanned[folder] += s.scan(t, name, f)
		return f.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	return scanned
}

// scanner looks for values in many disguises at once.
type scanner struct {
	needles map[uint32][]needle // by their first four bytes
	starts  []uint64            // a bit for the first three bytes of any needle
	longest int
}

type needle struct {
	bytes []byte
	form  string
}

func newScanner(values []string) *scanner {
	s := &scanner{needles: map[uint32][]needle{}, starts: make([]uint64, 1<<24/64)}
	for _, v := range values {
		for form, text := range disguises(v) {
			for _, b := range text {
				n := needle{[]byte(b), form}
				head := binary.BigEndian.Uint32(n.bytes)
				s.needles[head] = append(s.needles[head], n)
				s.starts[head>>14] |= 1 << (head >> 8 & 63)
				s.longest = max(s.longest, len(n.bytes))
			}
		}
	}
	return s
}

// disguises are the forms that a value could be found in.
func disguises(v string) map[string][]string {
	wide := utf16.Encode([]rune(v))
	little, big := make([]byte, 2*len(wide)), make([]byte, 2*len(wide))
	for i, unit := range wide {
		binary.LittleEndian.PutUint16(little[2*i:], unit)
		binary.BigEndian.PutUint16(big[2*i:], unit)
	}
	forms := map[string][]string{
		"plain":      {v},
		"UTF-16":     {string(little), string(big)},
		"hex":        {hex.EncodeToString([]byte(v)), strings.ToUpper(hex.EncodeToString([]byte(v)))},
		"URL":        {url.QueryEscape(v), url.PathEscape(v)},
		"lower case": {strings.ToLower(v)},
	}
	var escaped strings.Builder
	for _, unit := range wide {
		if unit < 0x80 {
			escaped.WriteRune(rune(unit))
		} else {
			fmt.Fprintf(&escaped, `\u%04x`, unit)
		}
	}
	forms["JSON"] = []string{escaped.String()}
	// Within longer base64 a value begins at any of three offsets; the characters
	// that its neighbours share are left out.
	for offset := range 3 {
		padded := append(make([]byte, offset), v...)
		padded = padded[:len(padded)/3*3]
		first := (offset*8 + 5) / 6
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			forms["base64"] = append(forms["base64"], e.EncodeToString(padded)[first:])
		}
	}
	return forms
}

const chunk = 64 << 10

// scan fails the test if r holds a value, and returns how long it is.
func (s *scanner) scan(t *testing.T, place string, r io.Reader) int64 {
	t.Helper()
	forms, size, err := s.find(r)
	if err != nil {
		t.Errorf("%s: %v", place, err)
	}
	for _, form := range forms {
		t.Errorf("%s holds a planted value, %s", place, form)
	}
	return size
}

// find returns the forms of the values that r holds, each once.
func (s *scanner) find(r io.Reader) (forms []string, size int64, err error) {
	buf := make([]byte, 0, chunk+s.longest)
	for {
		n, over, err := fill(r, buf[len(buf):cap(buf)])
		buf, size = buf[:len(buf)+n], size+int64(n)
		if err != nil {
			return forms, size, err
		}
		// What begins behind the limit is looked at with the next chunk.
		limit := len(buf)
		if !over {
			limit -= s.longest
		}
		for i := s.next(buf, 0, limit); i >= 0; i = s.next(buf, i+1, limit) {
			for _, n := range s.needles[binary.BigEndian.Uint32(buf[i:])] {
				if bytes.HasPrefix(buf[i:], n.bytes) && !slices.Contains(forms, n.form) {
					forms = append(forms, n.form)
				}
			}
		}
		if over {
			return forms, size, nil
		}
		buf = append(buf[:0], buf[limit:]...)
	}
}

// next returns where, from i to limit, a needle may begin, -1 for nowhere. It
// looks at each byte of hundreds of MB, and shares nothing.
//
//go:norace
func (s *scanner) next(buf []byte, i, limit int) int {
	for ; i < limit && i+4 <= len(buf); i++ {
		if at := uint32(buf[i])<<16 | uint32(buf[i+1])<<8 | uint32(buf[i+2]); s.starts[at>>6]&(1<<(at&63)) != 0 {
			return i
		}
	}
	return -1
}

// fill reads until b is full or r is over.
func fill(r io.Reader, b []byte) (n int, over bool, err error) {
	n, err = io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return n, true, nil
	}
	return n, false, err
}

// tryScanner shows that the scanner finds every form of a value, wherever in a
// file it lies, and nothing where nothing is.
func tryScanner(t *testing.T, s *scanner) {
	t.Helper()
	value := ""
	for _, n := range s.needles {
		for _, n := range n {
			if n.form == "plain" && strings.Contains(string(n.bytes), "@") {
				value = string(n.bytes)
			}
		}
	}
	dir := t.TempDir()
	noise := make([]byte, 2*chunk)
	_, _ = rand.Read(noise) // never fails
	for name, want := range map[string][]string{"nothing": {""}, "": nil} {
		forms := disguises(value)
		if name != "" {
			forms = map[string][]string{name: want}
		}
		for form, texts := range forms {
			for _, text := range texts {
				for _, at := range []int{0, 5, chunk - 3, chunk + s.longest - 3, len(noise)} {
					path := filepath.Join(dir, "file")
					write(t, path, slices.Concat(noise[:at], []byte(text), noise[at:]))
					f, err := os.Open(path)
					if err != nil {
						t.Fatal(err)
					}
					found, size, err := s.find(f)
					if err != nil || size != int64(len(noise)+len(text)) || (len(found) > 0) != (text != "") {
						t.Errorf("%s at %d: found %v in %d bytes, %v", form, at, found, size, err)
					}
					if err := f.Close(); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	raw, err := bson.Marshal(bson.D{{Key: "a", Value: "x" + value + "x"}})
	if err != nil {
		t.Fatal(err)
	}
	if found, _, err := s.find(bytes.NewReader(raw)); err != nil || !slices.Contains(found, "plain") {
		t.Errorf("found %v in a document, %v", found, err)
	}
}
