package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/rights"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
)

// stopsColl keeps what persons have had stopped. It is found by _id alone.
const stopsColl = "stops"

var _ rights.Store = (*RightsStore)(nil)

// RightsStore keeps what persons have had stopped: ids, codes and times, which stay
// when the person is erased, so that a suppression isn't forgotten.
type RightsStore struct{ stops, subjects *mongo.Collection }

// NewRightsStore returns the store of stops in d.
func NewRightsStore(d *DB) *RightsStore {
	return &RightsStore{d.db.Collection(stopsColl), d.db.Collection(subjectsColl)}
}

// stopDoc has its _id made of tenant, person and kind.
type stopDoc struct {
	ID      string         `bson:"_id"`
	Tenant  tenant.ID      `bson:"tenant"`
	Subject string         `bson:"subject"`
	Kind    rights.Kind    `bson:"kind"`
	Causes  []rights.Cause `bson:"causes"`
}

func stopID(of tenant.ID, person string, k rights.Kind) string {
	return string(of) + "/" + person + "/" + string(k)
}

// Get implements rights.Store.
func (s *RightsStore) Get(ctx context.Context, person string, k rights.Kind) (*rights.Stop, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	d, err := one[stopDoc](ctx, s.stops, "stop", rights.ErrNone, bson.E{Key: "_id", Value: stopID(of, person, k)})
	if errors.Is(err, rights.ErrNone) {
		return &rights.Stop{Subject: person, Kind: k}, nil
	}
	if err != nil {
		return nil, err
	}
	return &rights.Stop{Subject: d.Subject, Kind: d.Kind, Causes: d.Causes}, nil
}

// Save implements rights.Store.
func (s *RightsStore) Save(ctx context.Context, st *rights.Stop) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	d := stopDoc{stopID(of, st.Subject, st.Kind), of, st.Subject, st.Kind, st.Causes}
	_, err = s.stops.UpdateOne(ctx, bson.D{{Key: "_id", Value: d.ID}, {Key: "tenant", Value: of}},
		bson.D{{Key: "$set", Value: d}}, options.UpdateOne().SetUpsert(true))
	if err != nil {
		return fmt.Errorf("save stop: %w", translate(err))
	}
	return note(ctx, s.stops, d.ID)
}

// Restrict implements rights.Store.
func (s *RightsStore) Restrict(ctx context.Context, person string, on bool) error {
	from, to := subject.Restricted, subject.Active
	if on {
		from, to = to, from
	}
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: person}, bson.E{Key: "state", Value: from})
	if err != nil {
		return err
	}
	_, err = s.subjects.UpdateOne(ctx, filter, bson.D{
		{Key: "$set", Value: bson.D{{Key: "state", Value: to}}}, {Key: "$inc", Value: bson.D{{Key: "guard", Value: int64(1)}}},
	})
	if err != nil {
		return fmt.Errorf("restrict subject: %w", translate(err))
	}
	return nil
}

// Objecting implements consent.Standings.
func (s *ConsentStore) Objecting(ctx context.Context, to []consent.Objection, persons []string) ([]string, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(to)*len(persons))
	for _, what := range to {
		for _, person := range persons {
			ids = append(ids, stopID(of, person, rights.Kind(what)))
		}
	}
	docs, err := all[stopDoc](ctx, s.stops, bson.D{
		{Key: "tenant", Value: of}, {Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}},
	})
	if err != nil {
		return nil, fmt.Errorf("find objections: %w", err)
	}
	var objecting []string
	for _, d := range docs {
		if len(d.Causes) > 0 {
			objecting = append(objecting, d.Subject)
		}
	}
	slices.Sort(objecting)
	return slices.Compact(objecting), nil
}
