// Package file takes in documents about persons and gives them back. A
// document is sealed under the key of its person and dataset while it streams
// to object storage; the database has a row for it before its first byte.
//
// An uploaded file waits for a record to name it. One that none names in a day
// is removed; one whose record lets go of it is removed with that record.
//
// A document of a request, which a task is completed with, is about no dataset: it
// is sealed under the request's own key, waits for the task, and goes with the
// request.
package file

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/httperr"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/turns"
	"github.com/vogter/vogter/internal/vault"
)

// State is where a file stands.
type State string

// The states of a file.
const (
	Uploading State = "UPLOADING"
	Stored    State = "STORED"
	Attached  State = "ATTACHED"
	// Removing is for a file on its way out; nobody sees it any more.
	Removing State = "REMOVING"
)

const (
	// MaxSize is the largest document, in bytes.
	MaxSize = 1 << 30
	// OrphanAge is after how long an upload that is unfinished, or that no record
	// names, is removed.
	OrphanAge = 24 * time.Hour
	// maxUpload is how long an upload may take: less than OrphanAge, so that the
	// two never meet.
	maxUpload = 12 * time.Hour
	// cleanupTimeout bounds what is done after an upload failed.
	cleanupTimeout = 30 * time.Second

	maxName      = 255 // bytes
	defaultMedia = "application/octet-stream"
	sweepBatch   = 500
)

// JobRemove is the type of the job that removes a file: its object is the file's id.
const JobRemove = "file:remove"

// File is an uploaded document.
type File struct {
	ID        string
	Subject   string
	Dataset   string        // "" of a proof, which is sealed with the person's other evidence, and of a request's document
	Request   string        // "" but for a document of a request, which is of no person and no dataset
	Name      personal.Text // empty when it can't be read
	MediaType string        // type and subtype only, as the caller said
	Size      int64         // of the document, in bytes; 0 until it is STORED
	SHA256    personal.Value
	State     State
	Record    string // the record or task that names it, while ATTACHED
	Field     string // the record's field that does
	Object    Object
	CreatedAt time.Time

	secret bool // whether it is, or may come to be, secret by AML law
}

// Object is what lies in object storage under the file's id.
type Object struct {
	Size   int64  // in bytes, sealed
	SHA256 []byte // of the sealed bytes
	KeyID  []byte // of the key that sealed it: as long as the object is there, its generation is needed
}

// Sentinels.
var (
	ErrNotFound  = errs.New(errs.NotFound, "no such file")
	ErrTooLarge  = errs.New(errs.Limited, "a file has at most %d bytes", MaxSize).Under(httperr.RuleSize)
	ErrTruncated = errs.New(errs.Invalid, "the upload ended early: send the whole file again")
	ErrState     = errs.New(errs.Precondition, "the file is not waiting to be attached: upload it again").Under("file.stored")
	errNoCase    = errs.New(errs.NotFound, "no such request").At("request")
	ErrOther     = errs.New(errs.Precondition, "the file was uploaded for another person or dataset").Under("file.owner")
)

// Ref names a file of any tenant.
type Ref struct {
	Tenant tenant.ID
	ID     string
}

// Store keeps the rows of files, with names and digests sealed under the
// person's and dataset's key. All but Get, GetMany and Stale work in the
// transaction of a change.
type Store interface {
	// Get returns ErrNotFound also for a file that is REMOVING.
	Get(ctx context.Context, id string) (*File, error)
	// GetMany returns the files in any order, leaving out unknown ids.
	GetMany(ctx context.Context, ids []string) ([]*File, error)
	Insert(ctx context.Context, f *File) error
	// Finish makes an UPLOADING file STORED, with its size and digests, or fails with ErrState.
	Finish(ctx context.Context, f *File) error
	// Attach makes a STORED file of the right person and dataset ATTACHED. It does
	// nothing to a file that is attached to the record already, and fails with
	// ErrNotFound, ErrState or ErrOther.
	Attach(ctx context.Context, recordID string, a record.Attachment) error
	// AttachTo makes STORED files of a request ATTACHED to a task, or fails with
	// ErrNotFound or ErrState.
	AttachTo(ctx context.Context, requestID, taskID string, fileIDs []string) error
	// Detach makes the file REMOVING, if it is attached to the record, and reports whether it was.
	Detach(ctx context.Context, recordID, id string) (bool, error)
	// Discard makes the file REMOVING, if it is UPLOADING or STORED, or fails with ErrState.
	Discard(ctx context.Context, id string) error
	// Delete removes the row of a REMOVING file, or fails with ErrNotFound.
	Delete(ctx context.Context, id string) error
	// Stale returns files of any tenant that are UPLOADING or STORED since before
	// the time given. It needs a system context.
	Stale(ctx context.Context, before time.Time, limit int) ([]Ref, error)
}

// Objects is the object storage.
type Objects interface {
	// Put stores what r holds whole or not at all.
	Put(ctx context.Context, key string, r io.Reader) error
	Open(ctx context.Context, key string, size int64) io.ReadSeekCloser
	// Delete removes every version and every unfinished part.
	Delete(ctx context.Context, key string) error
}

// Subjects tells of persons.
type Subjects interface {
	GetMany(ctx context.Context, ids []string) ([]*subject.Subject, error)
	Guard(ctx context.Context, ids ...string) error
}

// Datasets tells of datasets.
type Datasets interface {
	Get(ctx context.Context, id string) (*dataset.Dataset, error)
}

// Vault has the keys.
type Vault interface {
	Ensure(ctx context.Context, owners ...vault.Owner) (*vault.Keys, error)
	Load(ctx context.Context, owners ...vault.Owner) (*vault.Keys, error)
}

// Recorder records reads and refusals.
type Recorder interface {
	Permit(ctx context.Context, a authz.Authorizer, do authz.Permission, action, object string) (context.Context, error)
	Read(ctx context.Context, action, object string, touches ...audit.Touch) error
}

var _ record.Files = (*Service)(nil)

// Gate says why the tenant may not put in data of some classes and categories: no
// agreement with the provider covers it. It isn't asked in a transaction.
type Gate interface {
	Take(ctx context.Context, classes []dataset.Class, categories []string) error
}

// Consents tells of the persons whose data must not be used for the purpose that
// the caller states.
type Consents interface {
	Closed(ctx context.Context, subjects ...string) (authz.Closed, error)
}

// Config is what a Service needs. All of it is required.
type Config struct {
	Store    Store
	Objects  Objects
	Subjects Subjects
	Datasets Datasets
	Looker   authz.Looker
	Vault    Vault
	Changes  *change.Runner
	Recorder Recorder
	Log      *slog.Logger
	Now      func() time.Time

	Consents Consents // nil where no purpose is registered
	Gate     Gate     // nil where data needs no agreement
	Cases    Cases    // nil where requests have no documents
}

// Cases tells of the requests that documents are of.
type Cases interface {
	// Guard fails unless the request is one of the tenant's that is worked on.
	Guard(ctx context.Context, requestID string) error
	// Read fails unless the caller may read the request.
	Read(ctx context.Context, requestID string) error
}

// Service takes files in and gives them back.
type Service struct {
	Config

	uploads *turns.Turns
}

// NewService returns a Service.
func NewService(c Config) *Service {
	// Each upload holds some 20 MiB of memory.
	shares := turns.Shares{Process: 8, Tenant: 3, Caller: 2, Wait: 10 * time.Second}
	return &Service{Config: c, uploads: turns.New(shares)}
}

// Secret reports whether a file that was found is, or may come to be, secret by
// AML law.
func (f *File) Secret() bool { return f.secret }

// Owner returns the owner of the key that a file is sealed under.
func Owner(of tenant.ID, f *File) vault.Owner {
	if f.Request != "" {
		return vault.Owner{Tenant: of, Subject: f.Request, Unit: vault.Case}
	}
	if f.Dataset == "" {
		return audit.Evidence(of, f.Subject)
	}
	return record.Unit(of, f.Subject, f.Dataset)
}

// Collection is the collection that sealed files and their names are bound to.
const Collection = "files"

func place(fileID string) vault.Place {
	return vault.Place{Collection: Collection, Record: fileID, Field: "content"}
}

// UploadInput says what is uploaded.
type UploadInput struct {
	Subject   string
	Dataset   string        // "" of a proof, as of a consent: a recording, a signed form
	Request   string        // of a document of a request, instead of both
	Name      personal.Text // the document's own name, without a folder
	MediaType string        // application/octet-stream when empty
	Size      int64         // as announced, in bytes; -1 when it wasn't
}

func (in *UploadInput) check(of tenant.ID) error {
	if in.Request != "" {
		if in.Subject != "" || in.Dataset != "" || id.Check(id.Request, of, in.Request) != nil {
			return errNoCase
		}
	} else if id.Check(id.Subject, of, in.Subject) != nil {
		return subject.ErrNotFound.At("subject")
	}
	if in.Dataset != "" && id.Check(id.Dataset, of, in.Dataset) != nil {
		return dataset.ErrNotFound.At("dataset")
	}
	name := in.Name.Reveal()
	if name == "" || len(name) > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) ||
		strings.ContainsAny(name, `/\`) || name == "." || name == ".." {
		return errs.New(errs.Invalid, "a file name has 1 to %d bytes of UTF-8 without folders or control characters", maxName).At("name")
	}
	if in.MediaType == "" {
		in.MediaType = defaultMedia
	}
	media, _, err := mime.ParseMediaType(in.MediaType)
	if err != nil || len(media) > maxName || !strings.Contains(media, "/") {
		return errs.New(errs.Invalid, "not a media type, as in application/pdf").At("mediaType")
	}
	in.MediaType = media // parameters may say more than the type
	if in.Size > MaxSize {
		return ErrTooLarge
	}
	return nil
}

// Upload takes in a document from r to its end. Memory doesn't grow with it. If
// it fails, nothing of the document stays.
func (s *Service) Upload(ctx context.Context, in UploadInput, r io.Reader) (*File, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if err := in.check(of); err != nil {
		return nil, err
	}
	isSecret, classes := false, []dataset.Class{dataset.Ordinary}
	if in.Dataset != "" {
		set, err := s.Datasets.Get(ctx, in.Dataset)
		if err != nil {
			return nil, err
		}
		if set.State != dataset.Active {
			return nil, dataset.ErrRetired.At("dataset")
		}
		isSecret = secret(set)
		for i := range set.Fields {
			if set.Fields[i].Type == dataset.TypeFile {
				classes = append(classes, set.Fields[i].DataClass)
			}
		}
	}
	if s.Gate != nil && in.Request == "" { // what persons hand in with a request isn't refused
		if err := s.Gate.Take(ctx, classes, nil); err != nil {
			return nil, err
		}
	}
	if err := s.open(ctx, in); err != nil {
		return nil, err
	}
	done, err := s.uploads.Take(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	f := &File{
		ID: id.New(id.File, of), Subject: in.Subject, Dataset: in.Dataset, Request: in.Request, Name: in.Name, MediaType: in.MediaType,
		State: Uploading, CreatedAt: s.Now().UTC().Truncate(time.Millisecond), secret: isSecret,
	}
	owners := []vault.Owner{Owner(of, f)}
	if f.Request == "" {
		owners = append(owners, audit.Evidence(of, f.Subject))
	}
	keys, err := s.Vault.Ensure(ctx, owners...)
	if err != nil {
		return nil, fmt.Errorf("upload file: %w", err)
	}
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		if err := s.guard(ctx, f); err != nil {
			return change.Change{}, err
		}
		return changed("file.upload", f), s.Store.Insert(ctx, f)
	})
	if err != nil {
		return nil, fmt.Errorf("upload file: %w", err)
	}
	if err := s.receive(ctx, keys, of, f, in.Size, r); err != nil {
		s.discard(ctx, f)
		return nil, fmt.Errorf("upload file %s: %w", f.ID, err)
	}
	return f, nil
}

// open fails unless documents are taken in for what in names.
func (s *Service) open(ctx context.Context, in UploadInput) error {
	if in.Request == "" {
		_, err := s.alive(ctx, in.Subject)
		return err
	}
	if s.Cases == nil {
		return errNoCase
	}
	return s.Cases.Guard(ctx, in.Request)
}

// guard keeps what a file is of, in a change's transaction, from going meanwhile.
func (s *Service) guard(ctx context.Context, f *File) error {
	if f.Request != "" {
		return s.Cases.Guard(ctx, f.Request)
	}
	return s.Subjects.Guard(ctx, f.Subject)
}

// receive streams r to object storage and makes the file STORED.
func (s *Service) receive(ctx context.Context, keys *vault.Keys, of tenant.ID, f *File, announced int64, r io.Reader) error {
	streaming, cancel := context.WithTimeout(ctx, maxUpload)
	defer cancel()
	sum := sha256.New()
	plain := &limited{r: io.TeeReader(r, sum)}
	object, err := Seal(streaming, keys, Owner(of, f), place(f.ID), s.Objects, f.ID, func(w io.Writer) error {
		_, err := io.Copy(w, plain)
		short := errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrDeadlineExceeded)
		if short || (err == nil && announced >= 0 && plain.n != announced) {
			return ErrTruncated.Because(err)
		}
		return err
	})
	if err != nil {
		return err
	}
	stored := *f
	stored.State, stored.Size, stored.SHA256, stored.Object = Stored, plain.n, personal.Bytes(sum.Sum(nil)), object
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		if err := s.guard(ctx, f); err != nil {
			return change.Change{}, err
		}
		return changed("file.store", &stored), s.Store.Finish(ctx, &stored)
	})
	if err != nil {
		return err
	}
	*f = stored
	return nil
}

// discard lets go of an upload that failed: the object at once, the row by a
// job. What fails here is done by Sweep a day later.
func (s *Service) discard(ctx context.Context, f *File) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if err := errors.Join(s.Objects.Delete(ctx, f.ID), s.giveUp(ctx, f.ID)); err != nil {
		s.Log.WarnContext(ctx, "failed upload not cleaned up yet", "file", f.ID, "err", err)
	}
}

// giveUp makes a file that no record names REMOVING, with the job that removes it.
func (s *Service) giveUp(ctx context.Context, fileID string) error {
	return s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		// The entry names the file only: the person's evidence key may be gone by now.
		return change.Change{
			Action: "file.discard", Object: fileID, Then: []job.Spec{{Type: JobRemove, Object: fileID, Quiet: true}}, Quiet: true,
		}, s.Store.Discard(ctx, fileID)
	})
}

// Attach implements record.Files. A file that the record names already stays as it is.
func (s *Service) Attach(ctx context.Context, recordID string, files []record.Attachment) error {
	for _, a := range files {
		if err := s.Store.Attach(ctx, recordID, a); err != nil {
			return fmt.Errorf("attach file %s: %w", a.File, err)
		}
	}
	return nil
}

// AttachTo gives uploaded documents of a request to a task, in a change's transaction.
func (s *Service) AttachTo(ctx context.Context, requestID, taskID string, fileIDs []string) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	for _, fileID := range fileIDs {
		if id.Check(id.File, of, fileID) != nil {
			return ErrNotFound
		}
	}
	return s.Store.AttachTo(ctx, requestID, taskID, fileIDs)
}

// Detach implements record.Files.
func (s *Service) Detach(ctx context.Context, recordID string, files []record.Attachment) ([]job.Spec, error) {
	var then []job.Spec
	for _, a := range files {
		had, err := s.Store.Detach(ctx, recordID, a.File)
		if err != nil {
			return nil, fmt.Errorf("detach file %s: %w", a.File, err)
		}
		if had {
			then = append(then, job.Spec{Type: JobRemove, Object: a.File, Quiet: true})
		}
	}
	return then, nil
}

// Remove removes the object of a REMOVING file in all its versions, then its
// row. It is the work of JobRemove and can be repeated.
func (s *Service) Remove(ctx context.Context, fileID string) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	if id.Check(id.File, of, fileID) != nil {
		return ErrNotFound
	}
	// A living file is left alone: its row would be found by Get.
	if _, err := s.Store.Get(ctx, fileID); !errors.Is(err, ErrNotFound) {
		if err == nil {
			err = ErrState
		}
		return fmt.Errorf("remove file %s: %w", fileID, err)
	}
	if err := s.Objects.Delete(ctx, fileID); err != nil {
		return fmt.Errorf("remove file %s: %w", fileID, err)
	}
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		// What named the file has been told of; the file itself may have been secret.
		return change.Change{Action: "file.remove", Object: fileID, Quiet: true}, s.Store.Delete(ctx, fileID)
	})
	if err != nil && !errors.Is(err, ErrNotFound) { // the row is gone: done before
		return fmt.Errorf("remove file %s: %w", fileID, err)
	}
	return nil
}

// Sweep removes uploads, of all tenants, that were not finished or not attached
// in a day. It needs a system context and may run anywhere, also twice.
func (s *Service) Sweep(ctx context.Context) error {
	for {
		stale, err := s.Store.Stale(ctx, s.Now().Add(-OrphanAge), sweepBatch)
		if err != nil {
			return fmt.Errorf("sweep files: %w", err)
		}
		for _, f := range stale {
			work := authz.NewContext(tenant.NewContext(ctx, f.Tenant), authz.Principal{Kind: authz.KindSystem, ID: "sweep:files", Tenant: f.Tenant})
			if err := s.giveUp(work, f.ID); err != nil && !errors.Is(err, ErrState) { // attached in the meantime
				return fmt.Errorf("sweep file %s: %w", f.ID, err)
			}
		}
		if len(stale) < sweepBatch {
			return nil
		}
	}
}

// Get returns a file and records that its name was read.
func (s *Service) Get(ctx context.Context, fileID string) (*File, error) {
	f, err := s.Find(ctx, fileID)
	if err != nil {
		return nil, err
	}
	var touches []audit.Touch
	if f.Subject != "" {
		touches = append(touches, audit.Touch{Subject: f.Subject, Object: f.ID, Fields: []string{"name"}, Secret: f.secret})
	}
	return f, s.Recorder.Read(ctx, "file.read", f.ID, touches...)
}

// Find is Get for callers that record the read themselves. It fails unless the
// caller may see, in full, the value that the file is.
func (s *Service) Find(ctx context.Context, fileID string) (*File, error) {
	f, data, err := s.find(ctx, fileID)
	if err != nil {
		return nil, err
	}
	for _, d := range data {
		if sight := s.Looker.Look(ctx, d); !sight.Clear() {
			return nil, sight.Err()
		}
	}
	return f, nil
}

// Data returns what policies look at before a file is shown: the field that names
// it, or, while none does, each that could, then its dataset. To whoever must
// not know of it, it isn't there.
func (s *Service) Data(ctx context.Context, fileID string) ([]authz.Data, error) {
	_, data, err := s.find(ctx, fileID)
	return data, err
}

func (s *Service) find(ctx context.Context, fileID string) (*File, []authz.Data, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, nil, err
	}
	if id.Check(id.File, of, fileID) != nil {
		return nil, nil, ErrNotFound
	}
	f, err := s.Store.Get(ctx, fileID)
	if err != nil {
		return nil, nil, fmt.Errorf("find file %s: %w", fileID, err)
	}
	if f.Request != "" {
		data, err := s.document(ctx, f)
		return f, data, err
	}
	if f.Dataset == "" {
		data, err := s.proof(ctx, f)
		return f, data, err
	}
	person, err := s.alive(ctx, f.Subject, f.Dataset)
	if err != nil {
		return nil, nil, err
	}
	d, err := s.Datasets.Get(ctx, f.Dataset)
	if errs.KindOf(err) == errs.NotFound || err == nil && f.Field != "" && d.Field(f.Field) == nil {
		return nil, nil, ErrNotFound
	}
	if err != nil {
		return nil, nil, fmt.Errorf("find dataset of file %s: %w", fileID, err)
	}
	var data []authz.Data
	for i := range d.Fields {
		if field := &d.Fields[i]; field.Type == dataset.TypeFile && (f.Field == "" || f.Field == field.ID) {
			data = append(data, d.FieldData(field))
		}
	}
	data = append(data, d.Data())
	var closed authz.Closed
	if s.Consents != nil {
		if closed, err = s.Consents.Closed(ctx, f.Subject); err != nil {
			return nil, nil, err
		}
	}
	for i := range data {
		data[i].Restricted, data[i].About, data[i].Closed = person.State == subject.Restricted, f.Subject, closed.To(f.Subject)
	}
	f.secret = secret(d)
	return f, data, nil
}

// document returns what policies look at before a document of a request is shown. To
// who may not read the request it isn't there.
func (s *Service) document(ctx context.Context, f *File) ([]authz.Data, error) {
	if s.Cases == nil || s.Cases.Read(ctx, f.Request) != nil {
		return nil, ErrNotFound
	}
	return []authz.Data{{Class: string(dataset.Ordinary), Secrecy: string(dataset.NoSecrecy)}}, nil
}

// proof returns what policies look at before a proof is shown. It outlives the
// person's data, and is then as restricted as processing can be.
func (s *Service) proof(ctx context.Context, f *File) ([]authz.Data, error) {
	found, err := s.Subjects.GetMany(ctx, []string{f.Subject})
	if err != nil {
		return nil, fmt.Errorf("find subject: %w", err)
	}
	free := len(found) == 1 && found[0].State == subject.Active
	return []authz.Data{{
		Class: string(dataset.Confidential), Secrecy: string(dataset.NoSecrecy), Restricted: !free, About: f.Subject,
	}}, nil
}

// FindMany is Find for several files of persons whose state the caller has
// checked. Unknown ids are left out.
func (s *Service) FindMany(ctx context.Context, ids []string) ([]*File, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	return s.Store.GetMany(ctx, ids)
}

// Open returns a file that is whole, with a reader of its content that the
// caller closes and whose reads ctx bounds. The caller records the read.
func (s *Service) Open(ctx context.Context, fileID string) (*File, io.ReadSeekCloser, error) {
	f, err := s.Find(ctx, fileID)
	if err != nil {
		return nil, nil, err
	}
	if f.State != Stored && f.State != Attached {
		return nil, nil, errs.New(errs.Precondition, "the file is still being uploaded").Under("file.stored")
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, nil, err
	}
	content, err := Unseal(ctx, s.Vault, Owner(of, f), place(f.ID), s.Objects, f.ID, f.Object)
	if err != nil {
		return nil, nil, fmt.Errorf("open file %s: %w", f.ID, err)
	}
	return f, content, nil
}

// alive returns the person unless it isn't there or is erased, and the dataset that a
// file is of with it.
func (s *Service) alive(ctx context.Context, subjectID string, of ...string) (*subject.Subject, error) {
	found, err := s.Subjects.GetMany(ctx, []string{subjectID})
	if err != nil {
		return nil, fmt.Errorf("find subject: %w", err)
	}
	switch {
	case len(found) == 0:
		return nil, subject.ErrNotFound
	case found[0].State.Gone() && !slices.ContainsFunc(of, func(d string) bool { return slices.Contains(found[0].Spared, d) }):
		return nil, subject.ErrErased
	}
	return found[0], nil
}

func changed(action string, f *File) change.Change {
	c := change.Change{Action: action, Object: f.ID, Secret: f.secret}
	if f.Subject != "" {
		c.Touches = []audit.Touch{{Subject: f.Subject, Object: f.ID, Digest: f.Object.SHA256}}
	}
	return c
}

// secret reports whether a file of the dataset is, or may come to be, secret by
// AML law.
func secret(d *dataset.Dataset) bool {
	return d.Secrecy == dataset.AML || slices.ContainsFunc(d.Fields, func(f dataset.Field) bool {
		return f.Type == dataset.TypeFile && f.Secrecy == dataset.AML
	})
}
