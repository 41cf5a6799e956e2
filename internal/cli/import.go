package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/vogter/vogter/internal/imports"
)

// importCmd sends a file to POST /v1/imports and shows how far it is.
type importCmd struct {
	File           string `arg:"" type:"existingfile" help:"The file: .ndjson, .jsonl or .csv."`
	Mapping        string `xor:"what" required:"" placeholder:"FILE|NAME" help:"A mapping: a file NAME.json, which is saved as NAME first, or the name of a saved one."`
	Dataset        string `xor:"what" required:"" placeholder:"NAME|ID" help:"The dataset that every line is a record of."`
	Origin         string `enum:"PROVIDED,OBSERVED,DERIVED,THIRD_PARTY," default:"" help:"How the records of --dataset came to be: PROVIDED, OBSERVED, DERIVED or THIRD_PARTY."`
	Check          bool   `help:"Report what would happen; write nothing."`
	URL            string `default:"http://127.0.0.1:8080" help:"Address of the API."`
	Key            string `env:"VOGTER_API_KEY" required:"" help:"The API key; better in the environment than on the command line."`
	IdempotencyKey string `help:"Names this import; made from the file and the mapping when absent, so that a repeated command goes on where the last one ended."`
}

// maxShown is how many rejections are printed.
const maxShown = 100

// errRejected makes the command fail when lines were rejected.
var errRejected = errors.New("lines were rejected")

// Run sends the file and prints what became of it.
func (c *importCmd) Run(ctx context.Context) error {
	var mime string
	switch strings.ToLower(filepath.Ext(c.File)) {
	case ".ndjson", ".jsonl":
		mime = "application/x-ndjson"
	case ".csv":
		mime = "text/csv; charset=utf-8"
	default:
		return errors.New("the file's name ends with .ndjson, .jsonl or .csv")
	}
	query := url.Values{}
	document, err := c.saveMapping(ctx, query)
	if err != nil {
		return err
	}
	for name, value := range map[string]string{"dataset": c.Dataset, "origin": c.Origin} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if c.Check {
		query.Set("mode", string(imports.Check))
	}
	file, err := os.Open(c.File)
	if err != nil {
		return err
	}
	a, err := c.send(ctx, file, query, mime, document)
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return a.print()
}

// saveMapping puts the mapping's name into the query, and saves it first if it
// is a file, whose content is returned.
func (c *importCmd) saveMapping(ctx context.Context, query url.Values) (document []byte, err error) {
	if c.Mapping == "" {
		return nil, nil
	}
	name, isFile := strings.CutSuffix(filepath.Base(c.Mapping), ".json")
	if !isFile {
		query.Set("mapping", c.Mapping)
		return nil, nil
	}
	query.Set("mapping", name)
	if document, err = os.ReadFile(c.Mapping); err != nil {
		return nil, fmt.Errorf("read the mapping: %w", err)
	}
	body, err := json.Marshal(map[string]any{
		"query":     `mutation ($input: SaveImportMappingInput!) { saveImportMapping(input: $input) { mapping { version } } }`,
		"variables": map[string]any{"input": map[string]string{"name": name, "document": string(document)}},
	})
	if err != nil {
		return nil, fmt.Errorf("encode the mapping: %w", err)
	}
	res, err := c.call(ctx, "/graphql", bytes.NewReader(body), http.Header{"Content-Type": {"application/json"}})
	if err != nil {
		return nil, fmt.Errorf("save the mapping: %w", err)
	}
	var saved struct {
		Data struct {
			SaveImportMapping *struct{}
		}
		Errors []struct {
			Message    string
			Extensions struct{ Code, Field string }
		}
	}
	if err := decodeAnswer(res, &saved); err != nil {
		return nil, fmt.Errorf("save the mapping: %w", err)
	}
	for _, e := range saved.Errors {
		return nil, fmt.Errorf("save the mapping: %s: %s %s", e.Extensions.Code, e.Extensions.Field, e.Message)
	}
	if saved.Data.SaveImportMapping == nil {
		return nil, fmt.Errorf("save the mapping: the server answers %s", res.Status)
	}
	return document, nil
}

// importAnswer is the API's answer to an import, or to one refused as a whole.
type importAnswer struct {
	imports.Answer
	Field string `json:"field"`
}

func (c *importCmd) send(
	ctx context.Context, file *os.File, query url.Values, mime string, document []byte,
) (*importAnswer, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at the file: %w", err)
	}
	key := c.IdempotencyKey
	if key == "" {
		h := sha256.New()
		fmt.Fprintf(h, "%s\n%s\n%d\n%s\n", query.Encode(), mime, len(document), document)
		if _, err := io.Copy(h, file); err != nil {
			return nil, fmt.Errorf("read the file: %w", err)
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return nil, fmt.Errorf("read the file: %w", err)
		}
		key = hex.EncodeToString(h.Sum(nil))
	}
	bar := progressbar.NewOptions64(info.Size(),
		progressbar.OptionSetWriter(os.Stderr),
		progressbar.OptionSetVisibility(term.IsTerminal(int(os.Stderr.Fd()))),
		progressbar.OptionSetDescription(filepath.Base(c.File)),
		progressbar.OptionShowBytes(true),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionFullWidth(),
	)
	// Content-Length lets the server see a body that breaks off; Expect lets it
	// refuse the import before the file is sent.
	res, err := c.call(ctx, "/v1/imports?"+query.Encode(), &sized{io.TeeReader(file, bar), info.Size()},
		http.Header{"Content-Type": {mime}, "Idempotency-Key": {key}, "Expect": {"100-continue"}})
	if err != nil {
		return nil, fmt.Errorf("send the file: %w; run the same command again to go on", err)
	}
	if err := bar.Exit(); err != nil {
		return nil, fmt.Errorf("show the progress: %w", err)
	}
	fmt.Fprintln(os.Stderr)
	var a importAnswer
	return &a, decodeAnswer(res, &a)
}

// sized is a body of known length.
type sized struct {
	io.Reader
	size int64
}

func (c *importCmd) call(ctx context.Context, path string, body io.Reader, header http.Header) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.URL, "/")+path, body)
	if err != nil {
		return nil, err
	}
	if s, ok := body.(*sized); ok {
		r.ContentLength = s.size
	}
	r.Header = header
	r.Header.Set("Authorization", "Bearer "+c.Key)
	client := &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, ExpectContinueTimeout: 10 * time.Second,
	}}
	return client.Do(r)
}

// maxAnswer bounds an answer, which lists up to 10,000 rejections.
const maxAnswer = 16 << 20

func decodeAnswer(res *http.Response, into any) error {
	err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(into)
	if err != nil {
		err = fmt.Errorf("the server answers %s, not with JSON: %w", res.Status, err)
	}
	return errors.Join(err, res.Body.Close())
}

// print shows the answer. It returns an error when not all lines were taken.
func (a *importAnswer) print() error {
	for _, r := range a.Rejections[:min(maxShown, len(a.Rejections))] {
		place := fmt.Sprintf("line %d", r.Line)
		if r.Field != "" {
			place += ", " + r.Field
		}
		fmt.Printf("%s: %s (%s)\n", place, r.Message, r.Code)
	}
	if more := a.Rejected - maxShown; more > 0 {
		fmt.Printf("… and %d more; see /v1/imports/%s\n", more, a.ID)
	}
	if a.Mode != "" {
		fmt.Printf("%d lines: %d created, %d updated, %d unchanged, %d rejected; %d records written\n",
			a.Lines, a.Created, a.Updated, a.Unchanged, a.Rejected, a.Records)
	}
	switch {
	case a.Code != "" && a.ResumeFrom > 0:
		return fmt.Errorf("stopped before line %d: %s (%s)", a.ResumeFrom, a.Message, a.Code)
	case a.Code != "":
		return fmt.Errorf("%s (%s %s)", a.Message, a.Code, a.Field)
	case a.Rejected > 0:
		return errRejected
	}
	return nil
}
