package purpose

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/vogter/vogter/internal/dataset"
)

// contentFormat is the first thing that a content says of itself.
const contentFormat = "vogter/notice/1"

// content is what is hashed of a notice in one language. Its JSON names are part
// of the format.
type content struct {
	Format                 string           `json:"format"`
	ID                     string           `json:"id"`
	Key                    string           `json:"key"`
	Version                int64            `json:"version"`
	Vocabulary             string           `json:"vocabularyVersion"`
	Language               string           `json:"language"`
	Title                  string           `json:"title"`
	Body                   string           `json:"body"`
	Collection             string           `json:"collection"`
	Withdrawal             string           `json:"withdrawal"`
	Retention              string           `json:"retention"`
	Purposes               []contentPurpose `json:"purposes"`
	Controllers            []contentParty   `json:"controllers"`
	Recipients             []contentParty   `json:"recipients"`
	Authority              *contentParty    `json:"authority,omitempty"`
	StorageLocations       []string         `json:"storageLocations"`
	ProcessingLocations    []string         `json:"processingLocations"`
	GeographicRestrictions []string         `json:"geographicRestrictions"`
	Jurisdiction           string           `json:"jurisdiction"`
	Rights                 []string         `json:"rights"`
	Operations             []string         `json:"operations"`
	Service                *string          `json:"service,omitempty"`
	CodesOfConduct         *string          `json:"codesOfConduct,omitempty"`
	ImpactAssessment       *string          `json:"impactAssessment,omitempty"`
}

type contentPurpose struct {
	ID                string        `json:"id"`
	Key               string        `json:"key"`
	Version           int64         `json:"version"`
	Term              string        `json:"term"`
	Name              string        `json:"name"`
	Description       string        `json:"description"`
	LegalBasis        string        `json:"legalBasis"`
	Art9Basis         *string       `json:"art9Basis,omitempty"`
	Data              []contentData `json:"data"`
	ValidityMonths    int           `json:"validityMonths"`
	OfferedToChildren bool          `json:"offeredToChildren"`
	Marketing         bool          `json:"marketing"`
	Optional          bool          `json:"optional"`
}

type contentData struct {
	Term     string        `json:"term"`
	Class    dataset.Class `json:"class"`
	Optional bool          `json:"optional"`
}

type contentParty struct {
	ID      string    `json:"id"`
	Type    PartyType `json:"type"`
	Role    string    `json:"role"`
	Name    string    `json:"name"`
	Address string    `json:"address"`
	Country string    `json:"country"`
	Contact string    `json:"contact"`
	Email   *string   `json:"email,omitempty"`
	Phone   *string   `json:"phone,omitempty"`
	URL     *string   `json:"url,omitempty"`
}

// Canonical returns all that a person is shown of a notice in the language of t,
// with its purposes, as JSON in the canonical form of RFC 8785. Its SHA-256 is the
// text's ContentHash: whoever has the content can tell what was shown. Absent
// optional members are left out, lists keep their order.
func Canonical(n *Notice, t NoticeText, purposes []*Purpose) ([]byte, error) {
	c := content{
		Format: contentFormat, ID: n.ID, Key: n.Key, Version: n.Version, Vocabulary: n.VocabularyVersion,
		Language: t.Language, Title: t.Title, Body: t.Body, Collection: t.Collection, Withdrawal: t.Withdrawal, Retention: t.Retention,
		Controllers: each(n.Controllers, func(p Party) contentParty { return contentParty(p) }),
		Recipients:  each(n.Recipients, func(p Party) contentParty { return contentParty(p) }),
		Purposes: each(purposes, func(p *Purpose) contentPurpose {
			in := p.In(t.Language)
			return contentPurpose{
				ID: p.ID, Key: p.Key, Version: p.Version, Term: p.Term, Name: in.Name, Description: in.Description,
				LegalBasis: p.LegalBasis, Art9Basis: p.Art9Basis, Data: each(p.Data, func(d Data) contentData { return contentData(d) }),
				ValidityMonths: p.ValidityMonths, OfferedToChildren: p.OfferedToChildren, Marketing: p.Marketing, Optional: p.Optional,
			}
		}),
		StorageLocations: list(n.StorageLocations), ProcessingLocations: list(n.ProcessingLocations),
		GeographicRestrictions: list(n.GeographicRestrictions), Jurisdiction: n.Jurisdiction, Rights: list(n.Rights),
		Operations: list(n.Operations), Service: n.Service, CodesOfConduct: n.CodesOfConduct, ImpactAssessment: n.ImpactAssessment,
	}
	if n.Authority != nil {
		a := contentParty(*n.Authority)
		c.Authority = &a
	}
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode notice: %w", err)
	}
	var sorted map[string]any // its keys are encoded in their order, which for ASCII is that of RFC 8785
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&sorted); err != nil {
		return nil, fmt.Errorf("encode notice: %w", err)
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(sorted); err != nil {
		return nil, fmt.Errorf("encode notice: %w", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// list returns ids as a list that isn't null.
func list(ids []string) []string { return append([]string{}, ids...) }

func each[T, U any](from []T, of func(T) U) []U {
	out := make([]U, len(from))
	for i, v := range from {
		out[i] = of(v)
	}
	return out
}

// seal sets the content hashes of n.
func (n *Notice) seal(purposes []*Purpose) error {
	for i := range n.Texts {
		c, err := Canonical(n, n.Texts[i], purposes)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(c)
		n.Texts[i].ContentHash = hex.EncodeToString(sum[:])
	}
	return nil
}
