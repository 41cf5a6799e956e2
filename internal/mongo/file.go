package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

var _ file.Store = (*FileStore)(nil)

// FileStore keeps the rows of files.
type FileStore struct {
	coll  *mongo.Collection
	vault *vault.Vault
}

// NewFileStore returns the store of files in d.
func NewFileStore(d *DB, v *vault.Vault) *FileStore {
	return &FileStore{coll: d.db.Collection(filesColl), vault: v}
}

type fileDoc struct {
	ID        string     `bson:"_id"`
	Tenant    tenant.ID  `bson:"tenant"`
	Subject   string     `bson:"subject"`
	Dataset   string     `bson:"dataset"`
	Request   string     `bson:"request,omitempty"`
	Name      sealed     `bson:"name"`
	SHA256    sealed     `bson:"sha256,omitempty"` // of the document
	MediaType string     `bson:"mediaType"`
	Size      int64      `bson:"size"`
	Object    objectDoc  `bson:"object"`
	State     file.State `bson:"state"`
	Record    string     `bson:"record,omitempty"`
	Field     string     `bson:"field,omitempty"`
	CreatedAt time.Time  `bson:"createdAt"`
}

type objectDoc struct {
	Size   int64  `bson:"size"`
	SHA256 []byte `bson:"sha256,omitempty"` // of the sealed bytes
	KeyID  []byte `bson:"keyId,omitempty"`  // counts, by its name, when a generation is to be destroyed
}

func (s *FileStore) sealer(keys *vault.Keys, of tenant.ID, f *file.File) *sealer {
	return &sealer{keys: keys, owner: file.Owner(of, f), place: vault.Place{Collection: file.Collection, Record: f.ID}}
}

// Insert implements file.Store.
func (s *FileStore) Insert(ctx context.Context, f *file.File) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	keys, err := s.vault.Load(ctx, file.Owner(of, f))
	if err != nil {
		return err
	}
	seal := s.sealer(keys, of, f)
	doc := fileDoc{
		ID: f.ID, Tenant: of, Subject: f.Subject, Dataset: f.Dataset, Request: f.Request, Name: seal.text("name", f.Name),
		MediaType: f.MediaType, State: f.State, CreatedAt: f.CreatedAt,
	}
	if seal.err != nil {
		return fmt.Errorf("seal file %s: %w", f.ID, seal.err)
	}
	if _, err := s.coll.InsertOne(ctx, doc); err != nil {
		return fmt.Errorf("insert file %s: %w", f.ID, translate(err))
	}
	return note(ctx, s.coll, f.ID)
}

// Get implements file.Store.
func (s *FileStore) Get(ctx context.Context, id string) (*file.File, error) {
	found, err := s.GetMany(ctx, []string{id})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, file.ErrNotFound
	}
	return found[0], nil
}

// GetMany implements file.Store.
func (s *FileStore) GetMany(ctx context.Context, ids []string) ([]*file.File, error) {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}})
	if err != nil {
		return nil, err
	}
	docs, err := all[fileDoc](ctx, s.coll, filter)
	if err != nil {
		return nil, fmt.Errorf("find files: %w", err)
	}
	files, owners := make([]*file.File, 0, len(docs)), make([]vault.Owner, 0, len(docs))
	for _, d := range docs {
		if d.State == file.Removing {
			continue
		}
		f := &file.File{
			ID: d.ID, Subject: d.Subject, Dataset: d.Dataset, Request: d.Request, MediaType: d.MediaType, Size: d.Size, State: d.State,
			Record: d.Record, Field: d.Field, Object: file.Object(d.Object), CreatedAt: d.CreatedAt,
		}
		files, owners = append(files, f), append(owners, file.Owner(d.Tenant, f))
	}
	keys, err := s.vault.Load(ctx, owners...)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]*fileDoc, len(docs))
	for i := range docs {
		byID[docs[i].ID] = &docs[i]
	}
	for _, f := range files {
		d := byID[f.ID]
		open := s.sealer(keys, d.Tenant, f)
		name, sum := open.openText("name", d.Name), open.open("sha256", d.SHA256)
		if _, is := unreadable(open.err); !is && open.err != nil {
			return nil, fmt.Errorf("open file %s: %w", f.ID, open.err)
		}
		if open.err == nil {
			f.Name, f.SHA256 = name, sum
		}
	}
	return files, nil
}

// Finish implements file.Store.
func (s *FileStore) Finish(ctx context.Context, f *file.File) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	keys, err := s.vault.Load(ctx, file.Owner(of, f))
	if err != nil {
		return err
	}
	seal := s.sealer(keys, of, f)
	sum := seal.seal("sha256", f.SHA256)
	if seal.err != nil {
		return fmt.Errorf("seal file %s: %w", f.ID, seal.err)
	}
	return s.move(ctx, f.ID, bson.D{{Key: "state", Value: file.Uploading}}, bson.D{
		{Key: "state", Value: file.Stored},
		{Key: "size", Value: f.Size},
		{Key: "sha256", Value: sum},
		{Key: "object", Value: objectDoc(f.Object)},
	})
}

// Attach implements file.Store.
func (s *FileStore) Attach(ctx context.Context, recordID string, a record.Attachment) error {
	err := s.move(ctx, a.File, bson.D{
		{Key: "state", Value: file.Stored}, {Key: "subject", Value: a.Subject}, {Key: "dataset", Value: a.Dataset},
	}, bson.D{{Key: "state", Value: file.Attached}, {Key: "record", Value: recordID}, {Key: "field", Value: a.Field}})
	if !errors.Is(err, file.ErrState) {
		return err
	}
	f, err := s.Get(ctx, a.File)
	switch {
	case err != nil:
		return err
	case f.Subject != a.Subject || f.Dataset != a.Dataset:
		return file.ErrOther
	case f.State == file.Attached && f.Record == recordID:
		if f.Field == a.Field {
			return nil
		}
		return s.move(ctx, a.File, bson.D{{Key: "record", Value: recordID}}, bson.D{{Key: "field", Value: a.Field}})
	}
	return file.ErrState
}

// AttachTo implements file.Store.
func (s *FileStore) AttachTo(ctx context.Context, requestID, taskID string, fileIDs []string) error {
	for _, fileID := range fileIDs {
		f, err := s.Get(ctx, fileID)
		if err != nil {
			return err
		}
		if f.Request != requestID {
			return file.ErrNotFound
		}
		err = s.move(ctx, fileID, bson.D{{Key: "state", Value: file.Stored}, {Key: "request", Value: requestID}},
			bson.D{{Key: "state", Value: file.Attached}, {Key: "record", Value: taskID}})
		if err != nil {
			return err
		}
	}
	return nil
}

// Detach implements file.Store.
func (s *FileStore) Detach(ctx context.Context, recordID, id string) (bool, error) {
	err := s.move(ctx, id,
		bson.D{{Key: "state", Value: file.Attached}, {Key: "record", Value: recordID}},
		bson.D{{Key: "state", Value: file.Removing}})
	if errors.Is(err, file.ErrState) {
		return false, nil
	}
	return err == nil, err
}

// Discard implements file.Store.
func (s *FileStore) Discard(ctx context.Context, id string) error {
	return s.move(ctx, id, bson.D{
		{Key: "state", Value: bson.D{{Key: "$in", Value: bson.A{file.Uploading, file.Stored}}}},
	}, bson.D{{Key: "state", Value: file.Removing}})
}

// move sets fields of a file that is as it must be, or fails with ErrState.
func (s *FileStore) move(ctx context.Context, id string, from, set bson.D) error {
	filter, err := scoped(ctx, append(bson.D{{Key: "_id", Value: id}}, from...)...)
	if err != nil {
		return err
	}
	res, err := s.coll.UpdateOne(ctx, filter, bson.D{{Key: "$set", Value: set}})
	if err != nil {
		return fmt.Errorf("update file %s: %w", id, translate(err))
	}
	if res.MatchedCount == 0 {
		return file.ErrState
	}
	return note(ctx, s.coll, id)
}

// Delete implements file.Store.
func (s *FileStore) Delete(ctx context.Context, id string) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: id}, bson.E{Key: "state", Value: file.Removing})
	if err != nil {
		return err
	}
	res, err := s.coll.DeleteOne(ctx, filter)
	if err != nil {
		return fmt.Errorf("delete file %s: %w", id, translate(err))
	}
	if res.DeletedCount == 0 {
		return file.ErrNotFound
	}
	return note(ctx, s.coll, id)
}

// Stale implements file.Store.
func (s *FileStore) Stale(ctx context.Context, before time.Time, limit int) ([]file.Ref, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return nil, err
	}
	var stale []file.Ref
	for _, state := range []file.State{file.Uploading, file.Stored} {
		docs, err := all[fileDoc](ctx, s.coll, bson.D{
			{Key: "state", Value: state}, {Key: "createdAt", Value: bson.D{{Key: "$lt", Value: before}}},
		}, options.Find().SetLimit(int64(limit-len(stale))).SetProjection(bson.D{{Key: "tenant", Value: 1}}))
		if err != nil {
			return nil, fmt.Errorf("find stale files: %w", err)
		}
		for _, d := range docs {
			stale = append(stale, file.Ref{Tenant: d.Tenant, ID: d.ID})
		}
		if len(stale) >= limit { // a limit of 0 would be none at all
			break
		}
	}
	return stale, nil
}
