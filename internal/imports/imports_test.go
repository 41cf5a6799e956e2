package imports_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/testdata/legislators"
)

// The real file: everybody is imported and found, a second import changes
// nothing, and another tenant sees nobody.
func TestLegislators(t *testing.T) {
	e := newEnv(t)
	ctx := portal(t, testenv.One)
	e.demo(t, ctx)
	base := e.serve(t, ctx)

	query := "mapping=" + legislators.MappingName
	got := send(t, base, upload{query: query + "&mode=check", body: bytes.NewReader(legislators.Lines())})
	if got.Status != 200 || got.Mode != "check" || got.Created != legislators.Count || got.Rejected != 0 {
		t.Fatalf("check: %+v", got)
	}
	got = send(t, base, upload{query: query, key: "first", body: bytes.NewReader(legislators.Lines())})
	const records = 537 + 2792 + 536 + 1312
	if got.Status != 200 || got.Mode != "write" || got.Lines != legislators.Count ||
		got.counts() != [5]int64{legislators.Count, 0, 0, records, 0} || got.State != "DONE" {
		t.Fatalf("first import: %+v", got)
	}

	other := portal(t, testenv.Two)
	phones := 0
	for line := range bytes.Lines(legislators.Lines()) {
		var person struct {
			Reference, Phone, Birthday string
			Name                       map[string]string
		}
		if err := json.Unmarshal(line, &person); err != nil {
			t.Fatal(err)
		}
		byReference := subject.By{Reference: text(person.Reference)}
		found := e.find(t, ctx, byReference)
		if found == nil {
			t.Fatalf("%s isn't found by reference", person.Reference)
		}
		if found.BirthDate.Reveal() != person.Birthday {
			t.Errorf("%s: wrong birth date", person.Reference)
		}
		name := person.Name["official_full"]
		if name == "" {
			name = person.Name["first"] + " " + person.Name["last"]
		}
		by := subject.By{NameAndBirthDate: &subject.NameAndBirthDate{
			Name: personal.NewText(name), BirthDate: personal.NewText(person.Birthday),
		}}
		if one := e.find(t, ctx, by); one == nil || one.ID != found.ID {
			t.Errorf("%s isn't found by name and birth date", person.Reference)
		}
		if person.Phone != "" {
			phones++
			us := "US"
			if one := e.find(t, ctx, subject.By{Phone: text(person.Phone), PhoneRegion: &us}); one == nil || one.ID != found.ID {
				t.Errorf("%s isn't found by phone", person.Reference)
			}
		}
		if e.find(t, other, byReference) != nil {
			t.Fatal("another tenant finds a person")
		}
	}
	if phones != 536 {
		t.Errorf("%d phones", phones)
	}
	d, err := e.datasets.Find(ctx, "Offices")
	if err != nil {
		t.Fatal(err)
	}
	phone := "phone"
	c, err := e.records.Find(ctx, record.By{
		Dataset: d.ID, Field: &phone, Value: personal.NewText("+14253030114"),
	}, page.Request{First: 5})
	if err != nil || len(c.Edges) != 1 {
		t.Fatalf("office by phone: %v", err)
	}

	got = send(t, base, upload{query: query, key: "second", body: bytes.NewReader(legislators.Lines())})
	if got.Status != 200 || got.counts() != [5]int64{0, 0, legislators.Count, 0, 0} {
		t.Fatalf("second import: %+v", got)
	}

	// One person moves: only that line is updated, only that record written.
	moved := bytes.Replace(legislators.Lines(), []byte("2930 Wetmore Ave."), []byte("2931 Wetmore Ave."), 1)
	got = send(t, base, upload{query: query, key: "third", body: bytes.NewReader(moved)})
	if got.Status != 200 || got.counts() != [5]int64{0, 1, legislators.Count - 1, 1, 0} {
		t.Fatalf("third import: %+v", got)
	}
}
