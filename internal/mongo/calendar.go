package mongo

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/calendar"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/tenant"
)

var _ calendar.Store = (*CalendarStore)(nil)

// CalendarStore keeps what tenants change in holiday calendars.
type CalendarStore struct{ coll *mongo.Collection }

// NewCalendarStore returns the store in d.
func NewCalendarStore(d *DB) *CalendarStore { return &CalendarStore{d.db.Collection(holidaysColl)} }

type holidaysDoc struct {
	ID       string          `bson:"_id"` // tenant, calendar and number: each is there once
	Tenant   tenant.ID       `bson:"tenant"`
	Calendar string          `bson:"calendar"`
	Number   int             `bson:"number"`
	Added    []holidayAddDoc `bson:"added"`
	Removed  []dateText      `bson:"removed"`
}

type holidayAddDoc struct {
	Date dateText `bson:"date"`
	Name string   `bson:"name"`
}

// Own implements calendar.Store.
func (s *CalendarStore) Own(ctx context.Context, calendarID string, number int) (calendar.Changes, error) {
	match := []bson.E{{Key: "calendar", Value: calendarID}}
	if number > 0 {
		match = append(match, bson.E{Key: "number", Value: number})
	}
	filter, err := scoped(ctx, match...)
	if err != nil {
		return calendar.Changes{}, err
	}
	docs, err := all[holidaysDoc](ctx, s.coll, filter, options.Find().SetSort(bson.D{{Key: "number", Value: -1}}).SetLimit(1))
	if err != nil || len(docs) == 0 {
		return calendar.Changes{}, err
	}
	c := calendar.Changes{Number: docs[0].Number}
	for _, a := range docs[0].Added {
		if d := a.Date.date(); d != nil {
			c.Added = append(c.Added, calendar.Day{Date: *d, Name: a.Name})
		}
	}
	for _, r := range docs[0].Removed {
		if d := r.date(); d != nil {
			c.Removed = append(c.Removed, *d)
		}
	}
	return c, nil
}

// InsertOwn implements calendar.Store.
func (s *CalendarStore) InsertOwn(ctx context.Context, calendarID string, c calendar.Changes) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	doc := holidaysDoc{ID: fmt.Sprintf("%s/%s/%d", of, calendarID, c.Number), Tenant: of, Calendar: calendarID, Number: c.Number}
	for _, a := range c.Added {
		doc.Added = append(doc.Added, holidayAddDoc{textOf(&a.Date), a.Name})
	}
	for _, r := range c.Removed {
		doc.Removed = append(doc.Removed, textOf(&r))
	}
	_, err = s.coll.InsertOne(ctx, doc)
	if mongo.IsDuplicateKeyError(err) {
		return change.ErrVersion.At("expectedNumber")
	}
	if err != nil {
		return fmt.Errorf("insert changes of holidays: %w", translate(err))
	}
	return nil
}
