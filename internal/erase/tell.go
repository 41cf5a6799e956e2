package erase

import (
	"context"
	"time"

	"github.com/vogter/vogter/internal/certificate"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/paper"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/retention"
)

const hoursOfDay = 24

// words are what letters call what isn't a dataset, and what no rule says.
type words struct{ identity, hold, others, open, demanded, needed string }

func wordsIn(language string) words {
	if language == paper.Danish {
		return words{
			"Oplysninger, der identificerer dig", "Oplysningerne er omfattet af et krav om bevarelse af hensyn til et retskrav eller en myndighed.",
			"De er nødvendige, så længe vi skal gemme de øvrige oplysninger.", "når grunden til at gemme dem er bortfaldet",
			"Der var et krav om at gemme dem.", "De var nødvendige, så længe vi skulle gemme andre oplysninger.",
		}
	}
	return words{
		"Data that identify you", "The data are under a legal hold for the sake of a legal claim or an authority.",
		"They are needed as long as we must keep the other data.", "once the reason for keeping them no longer exists",
		"There was a demand to keep them.", "They were needed as long as we had to keep other data.",
	}
}

// Tell returns what the answer to a request to be erased says: what is erased, what
// is kept and why, and until when backups last.
func (w *Work) Tell(ctx context.Context, r *request.Request, item *request.Item) (letter.Fields, error) {
	ctx, err := platform(ctx)
	if err != nil {
		return nil, err
	}
	say := wordsIn(r.Language)
	fields := letter.Fields{"erasure.backupHorizonDays": letter.Integer(int64(w.Service.Backups / (hoursOfDay * time.Hour)))}
	all, err := w.Certificates.For(ctx, item.ID)
	if err != nil {
		return nil, err
	}
	whole := false
	for _, c := range all {
		if c.State == certificate.Draft || len(item.Results) == 0 || c.Shredding != item.Results[0] {
			continue // of a part that went later
		}
		whole = c.Content.WholePerson
		var names []string
		for _, s := range c.Content.Scope {
			if s.Unit == retention.Person {
				s.Name = say.identity
			}
			names = append(names, s.Name)
		}
		fields["erasure.certificateNumber"] = letter.Text(c.ID)
		fields["erasure.erasedList"] = letter.Items(names...)
		fields["erasure.doneDate"] = letter.Date(civil.Of(c.Content.EndedAt))
		fields["erasure.irrecoverableDate"] = letter.Date(civil.Of(c.Content.Backups.IrrecoverableOn))
	}
	if whole || r.Subject == "" {
		return fields, nil
	}
	p, err := w.Service.plan(ctx, r.Subject, nil)
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for i := range p.Parts {
		if part := &p.Parts[i]; !part.secret && !part.Now() {
			rows = append(rows, part.row(say, r.Language))
		}
	}
	if rows != nil {
		fields["erasure.keptRows"] = letter.Rows(rows...)
	}
	return fields, nil
}

// row is what a letter says of a part that is kept: what it is, why, by which rule,
// and until when.
func (p *Part) row(say words, language string) []string {
	name, why, law, until := p.Dataset, say.others, "", say.open
	if p.Unit == retention.Person {
		name = say.identity
	}
	if p.Article != nil {
		law = *p.Article
	}
	switch {
	case p.Hold != nil:
		why = say.hold
	case p.Rule != nil:
		if why = p.Rule.TextEn; language == paper.Danish {
			why = p.Rule.TextDa
		}
		law = p.Rule.LegalSource
	}
	if p.Date != nil {
		until = p.Date.String()
	}
	return []string{name, why, law, until}
}
