package agreement

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/audit/trail"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/paper"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/tenant"
)

const (
	// Type is the type of a signed agreement, which the header of its signature names.
	Type = "vogter-agreement+jws"
	// FormVersion is the version of the form of signed agreements.
	FormVersion = 1
	// JobDocument is the type of the job that makes the documents of an agreement which
	// both sides have signed: its object is the agreement's id.
	JobDocument = "agreement:document"
	// Media is the type of the signed text.
	Media = "application/jose"
)

// pause is how long the job waits for the audit log to be sealed.
const pause = 20 * time.Second

// Content is what a signed agreement says: what the parties signed, how, and where the
// audit log has it.
type Content struct {
	Form       int64       `json:"version"`
	Agreement  string      `json:"agreement"`
	Number     string      `json:"number"`
	Version    int64       `json:"agreementVersion"`
	Tenant     tenant.ID   `json:"controller"`
	Template   string      `json:"template"`
	Edition    int64       `json:"templateVersion"`
	Source     string      `json:"templateSha256"`
	Language   string      `json:"language"`
	Values     []Value     `json:"values"`
	Scope      Scope       `json:"scope"`
	Text       string      `json:"text"`
	SHA256     string      `json:"sha256"`
	Signatures []Signature `json:"signatures"`
	Since      time.Time   `json:"inForceSince"`
	Audit      Proof       `json:"audit"`
}

// Proof is where the audit log of the controller's tenant has the last signature.
type Proof struct {
	Entry      string `json:"entry"`
	Number     int64  `json:"number"` // the entry's place in the log
	Checkpoint int64  `json:"checkpoint"`
	Root       string `json:"root"` // of the log's tree at the checkpoint, in hexadecimal
}

// ErrForm reports what isn't a signed agreement, or is of a form yet unknown.
var ErrForm = errors.New("not a signed agreement that this program knows")

// Is reports whether a text claims to be a signed agreement: what Open reads.
func Is(text string) bool {
	head, _, ok := strings.Cut(strings.TrimSpace(text), ".")
	raw, err := base64.RawURLEncoding.DecodeString(head)
	var header struct {
		Type string `json:"typ"`
	}
	return ok && err == nil && json.Unmarshal(raw, &header) == nil && header.Type == Type
}

// Open checks a signed agreement: the platform's signature, and that text and
// signatures are of one hash. It fails with ErrForm, or as sign.KeySet.OpenJWS does.
func Open(keys *sign.KeySet, compact string) (*Content, *sign.Key, error) {
	raw, by, err := keys.OpenJWS(sign.Evidence, Type, strings.TrimSpace(compact))
	if err != nil {
		return nil, nil, err
	}
	c, err := read(raw)
	return c, by, err
}

func read(raw []byte) (*Content, error) {
	var c Content
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForm, err)
	}
	if c.Form != FormVersion {
		return nil, ErrForm
	}
	if hashed(c.Text) != c.SHA256 {
		return nil, fmt.Errorf("%w: its text has another hash", ErrForm)
	}
	for _, s := range c.Signatures {
		if s.SHA256 != c.SHA256 {
			return nil, fmt.Errorf("%w: a signature is of another text", ErrForm)
		}
	}
	return &c, nil
}

// Document is the work of JobDocument: once the audit log has sealed the second
// signature, it writes out what was signed, under the platform's own signature. It
// can be repeated.
func (s *Service) Document(ctx context.Context, r *job.Run) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	return s.WriteDocument(platform(ctx, of), r.Object())
}

// WriteDocument is the work of Document for one agreement. It fails with job.Postpone's
// error while the log isn't sealed.
func (s *Service) WriteDocument(ctx context.Context, agreementID string) error {
	a, err := s.Get(ctx, agreementID)
	if err != nil {
		return err
	}
	v := a.ForceVersion
	if v == nil || v.Document != "" { // it may be over by now: what isn't in force needs no document
		return nil
	}
	proof, err := s.proof(ctx, a.ID)
	if err != nil {
		return err
	}
	if proof == nil {
		return job.Postpone(pause)
	}
	c := Content{
		Form: FormVersion, Agreement: a.ID, Number: a.Number, Version: v.Number, Tenant: a.Tenant, Template: v.Template, Edition: v.TemplateVersion,
		Source: v.TemplateDigest, Language: v.Language, Values: v.Values, Scope: v.Scope, Text: v.Text, SHA256: *v.SHA256, Since: *v.ActivatedAt, Audit: *proof,
	}
	for _, m := range v.Signatures {
		m.Identity = ""
		c.Signatures = append(c.Signatures, m)
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("write agreement %s: %w", a.ID, err)
	}
	signed, err := s.Signer.SignJWS(ctx, sign.Evidence, Type, raw)
	if err != nil {
		return err
	}
	return s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		v, err := s.Store.Revision(ctx, a.ID, v.Number)
		if err != nil {
			return change.Change{}, err
		}
		v.Document = signed
		return change.Change{Action: "agreement.document", Object: a.ID}, s.Store.UpdateRevision(ctx, v)
	})
}

// proof returns where the audit log has the last signature, nil while it isn't sealed.
func (s *Service) proof(ctx context.Context, agreementID string) (*Proof, error) {
	entries, err := s.Trail.Page(ctx, &trail.Filter{Object: &agreementID}, page.Request{First: page.Max})
	if err != nil {
		return nil, err
	}
	for _, e := range entries.Nodes() {
		if e.Action != action(MoveSign) {
			continue
		}
		p, err := s.Trail.Proof(ctx, e.ID)
		if errs.KindOf(err) == errs.Precondition || errs.KindOf(err) == errs.NotFound {
			return nil, nil //nolint:nilnil // it isn't sealed yet
		}
		if err != nil {
			return nil, err
		}
		return &Proof{Entry: e.ID, Number: p.Seq, Checkpoint: p.Checkpoint.Number, Root: p.Checkpoint.Root}, nil
	}
	return nil, nil //nolint:nilnil // likewise
}

// File is an agreement to be downloaded.
type File struct {
	Name    string
	Content []byte
}

// OpenFile returns the agreement in force as PDF, or that of the newest version when
// none is any more. It fails with ErrDocument before it is made.
func (s *Service) OpenFile(ctx context.Context, agreementID string) (*File, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.Agreement, of, agreementID) != nil {
		return nil, ErrNotFound
	}
	versions, err := s.Revisions(ctx, agreementID)
	if err != nil {
		return nil, err
	}
	for _, v := range versions {
		if v.Document == "" {
			continue
		}
		b, err := v.PDF()
		if err != nil {
			return nil, err
		}
		return &File{Name: fmt.Sprintf("agreement-%d-%s.pdf", v.Number, agreementID[len(agreementID)-8:]), Content: b}, nil
	}
	return nil, ErrDocument
}

// PDF returns a version that was signed on paper, with a signature page; the signed
// text lies in the file. It is the same bytes each time.
func (r *Revision) PDF() ([]byte, error) {
	if r.Document == "" {
		return nil, ErrDocument
	}
	parts := strings.Split(r.Document, ".")
	if len(parts) != 3 { //nolint:mnd // header, payload, signature
		return nil, ErrForm
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForm, err)
	}
	c, err := read(raw)
	if err != nil {
		return nil, err
	}
	d, err := c.paper()
	if err != nil {
		return nil, err
	}
	d.Attached = &paper.Attachment{Name: c.Number + ".jws", MediaType: Media, Content: []byte(r.Document)}
	var b bytes.Buffer
	if err := paper.Render(&b, d); err != nil {
		return nil, fmt.Errorf("print agreement %s: %w", c.Agreement, err)
	}
	return b.Bytes(), nil
}
