package request

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
)

// maxYears bounds statistics.
const maxYears = 5

// Statistics is what became of the requests received in a time.
type Statistics struct{ Rows []Row }

// Row is of one right and month of receipt.
type Row struct {
	Type           Type
	Month          string // "2026-11", in the tenant's zone
	Received       int
	Answered       int
	AnsweredInTime int
	MedianHours    *float64 // from receipt to answer
	Extended       int
	Refused        []RefusalCount
	OverdueNow     int

	hours []float64
}

// RefusalCount is how often something was refused for a reason.
type RefusalCount struct {
	Code  Refusal
	Count int
}

// Statistics counts the requests received from a day on and before another: each
// once for every right it asks for.
func (s *Service) Statistics(ctx context.Context, from, to civil.Date) (*Statistics, error) {
	if !from.Before(to) || from.AddMonths(12*maxYears).Before(to) {
		return nil, errs.New(errs.Invalid, "to is after from, by at most %d years", maxYears).At("to")
	}
	name, _, err := s.Calendars.Current(ctx)
	if err != nil {
		return nil, err
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, errs.New(errs.Precondition, "the tenant's time zone isn't known here").Because(err)
	}
	now, rows := s.now(), map[[2]string]*Row{}
	err = s.Store.Facts(ctx, from.Start(zone).UTC(), to.Start(zone).UTC(), func(f Fact) error {
		month := f.ReceivedAt.In(zone).Format("2006-01")
		for _, t := range f.Types {
			key := [2]string{month, string(t)}
			if rows[key] == nil {
				rows[key] = &Row{Type: t, Month: month, Refused: []RefusalCount{}}
			}
			rows[key].count(f, now)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	st := &Statistics{Rows: make([]Row, 0, len(rows))}
	for _, row := range rows {
		row.MedianHours = median(row.hours)
		st.Rows = append(st.Rows, *row)
	}
	slices.SortFunc(st.Rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Month, b.Month), cmp.Compare(slices.Index(Types(), a.Type), slices.Index(Types(), b.Type)))
	})
	return st, nil
}

func (row *Row) count(f Fact, now time.Time) {
	row.Received++
	if f.Extended {
		row.Extended++
	}
	switch {
	case f.RespondedAt != nil:
		row.Answered++
		row.hours = append(row.hours, f.RespondedAt.Sub(f.ReceivedAt).Hours())
		if f.DueBefore == nil || f.RespondedAt.Before(*f.DueBefore) {
			row.AnsweredInTime++
		}
	case f.State.Open() && f.DueBefore != nil && !now.Before(*f.DueBefore):
		row.OverdueNow++
	}
	for _, code := range f.Refusals {
		i := slices.IndexFunc(row.Refused, func(c RefusalCount) bool { return c.Code == code })
		if i < 0 {
			row.Refused = append(row.Refused, RefusalCount{Code: code})
			i = len(row.Refused) - 1
		}
		row.Refused[i].Count++
	}
}

func median(of []float64) *float64 {
	if len(of) == 0 {
		return nil
	}
	slices.Sort(of)
	m := of[len(of)/2]
	if len(of)%2 == 0 {
		m = (of[len(of)/2-1] + m) / 2
	}
	return &m
}
