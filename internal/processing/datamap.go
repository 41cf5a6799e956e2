package processing

import (
	"context"
	"slices"

	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
)

// NodeKind is what a node of a data map is.
type NodeKind string

// The kinds of nodes.
const (
	NodeDataset   NodeKind = "DATASET"
	NodeField     NodeKind = "FIELD"
	NodeActivity  NodeKind = "ACTIVITY"
	NodePurpose   NodeKind = "PURPOSE"
	NodeSystem    NodeKind = "SYSTEM"
	NodeRecipient NodeKind = "RECIPIENT"
	NodeCountry   NodeKind = "COUNTRY"
)

// MapNode is something that data is, or is used by, or goes to.
type MapNode struct {
	ID    string // of the object; of a country its code
	Kind  NodeKind
	Label Words
	Class *dataset.Class // of a field
	Term  *string        // DPV, of a field or a purpose
	Hat   *Hat           // of an activity
}

// MapEdge leads from what has the data to what uses it: field → dataset →
// activity → purpose, system, recipient, country; system, recipient → country.
type MapEdge struct {
	From string
	To   string
}

// Map shows which data is used by what, and goes where.
type Map struct {
	Nodes []MapNode
	Edges []MapEdge
}

// MapFilter chooses a part of the map: the activities that name a dataset, a
// purpose, a system, a party or, by its code, a country, or that are one, and all
// that is around them.
type MapFilter struct {
	Around *string
	Fields bool // whether fields are shown
}

// ErrMap reports a map with too many nodes.
var ErrMap = errs.New(errs.Limited, "the map has more than %d nodes: leave the fields out, or ask for what is around one object", MaxMap)

// mapper builds a map, each node once.
type mapper struct {
	Map

	nodes map[string]bool
	edges map[MapEdge]bool
}

func (m *mapper) node(n MapNode) string {
	if !m.nodes[n.ID] {
		m.nodes[n.ID] = true
		m.Nodes = append(m.Nodes, n)
	}
	return n.ID
}

func (m *mapper) edge(from, to string) {
	if e := (MapEdge{from, to}); !m.edges[e] {
		m.edges[e] = true
		m.Edges = append(m.Edges, e)
	}
}

// DataMap returns the map of what is valid now. Datasets and fields that the
// caller must not know of aren't on it.
func (s *Service) DataMap(ctx context.Context, f MapFilter) (*Map, error) {
	l, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	m := &mapper{nodes: map[string]bool{}, edges: map[MapEdge]bool{}}
	for _, a := range l.activities {
		if a.Valid == nil || f.Around != nil && !l.around(a, *f.Around) {
			continue
		}
		l.draw(m, a, f.Fields)
		if len(m.Nodes) > MaxMap {
			return nil, ErrMap
		}
	}
	for _, n := range l.sorted() { // those that nothing uses, too
		if d := l.datasets[n]; d.State == dataset.Active && (f.Around == nil || *f.Around == n) {
			m.dataset(d, f.Fields)
		}
	}
	if len(m.Nodes) > MaxMap {
		return nil, ErrMap
	}
	return &m.Map, nil
}

// around reports whether an activity names an object or a country.
func (l *landscape) around(a *Activity, what string) bool {
	c := &a.Valid.Content
	return a.ID == what || slices.Contains(c.Datasets, what) || slices.Contains(c.Systems, what) || slices.Contains(c.purposes(), what) ||
		slices.Contains(c.receivers(), what) || slices.Contains(l.countries(c), what) ||
		slices.ContainsFunc(c.Datasets, func(n string) bool { d := l.datasets[n]; return d != nil && d.Index(what) >= 0 })
}

// countries are where an activity's data is or goes.
func (l *landscape) countries(c *Content) (all []string) {
	for _, t := range c.Transfers {
		all = append(all, t.Country)
	}
	for _, n := range c.Systems {
		if y := l.systems[n]; y != nil {
			all = append(all, y.Location)
		}
	}
	for _, n := range c.receivers() {
		if p := l.parties[n]; p != nil {
			all = append(all, p.Country)
		}
	}
	return all
}

func (m *mapper) country(code string) string {
	return m.node(MapNode{ID: code, Kind: NodeCountry, Label: countryName(code)})
}

func (m *mapper) dataset(d *dataset.Dataset, fields bool) string {
	if m.nodes[d.ID] {
		return d.ID
	}
	m.node(MapNode{ID: d.ID, Kind: NodeDataset, Label: Words{Da: d.Name, En: d.Name}})
	for i := range d.Fields {
		if f := &d.Fields[i]; fields {
			n := MapNode{ID: f.ID, Kind: NodeField, Label: Words{Da: f.Key, En: f.Key}, Class: &f.DataClass}
			if f.Term != "" {
				n.Term = &f.Term
			}
			m.edge(m.node(n), d.ID)
		}
	}
	return d.ID
}

func (l *landscape) draw(m *mapper, a *Activity, fields bool) {
	c := &a.Valid.Content
	at := m.node(MapNode{ID: a.ID, Kind: NodeActivity, Label: c.Name, Hat: &a.Hat})
	for _, n := range c.Datasets {
		if d := l.datasets[n]; d != nil {
			m.edge(m.dataset(d, fields), at)
		}
	}
	for _, n := range c.purposes() {
		p := l.purposes[n]
		m.edge(at, m.node(MapNode{ID: n, Kind: NodePurpose, Label: purposeName(p), Term: &p.Term}))
	}
	for _, n := range c.Systems {
		if y := l.systems[n]; y != nil {
			m.edge(at, m.node(MapNode{ID: n, Kind: NodeSystem, Label: y.Name}))
			m.edge(n, m.country(y.Location))
		}
	}
	for _, n := range c.receivers() {
		if p := l.parties[n]; p != nil {
			m.edge(at, m.node(MapNode{ID: n, Kind: NodeRecipient, Label: Words{Da: p.LegalName, En: p.LegalName}}))
			m.edge(n, m.country(p.Country))
		}
	}
	for _, t := range c.Transfers {
		m.edge(at, m.country(t.Country))
	}
}
