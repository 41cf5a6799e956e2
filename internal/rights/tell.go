package rights

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/paper"
	"github.com/vogter/vogter/internal/post"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/request"
)

var _ = []post.Teller{withdrawal{}, marketing{}, objection{}, restriction{}}

// proofYears is how long the proof of a withdrawal is kept: DOMAIN §3.2.
const proofYears = 5

// phrases are what letters say of these rights, in one language.
type phrases struct {
	everything string // what a restriction covers
	until      map[string]string
	sent       string // of messages that had left before marketing stopped
	interests  string // what is objected to when no purpose is registered for it
	stopped    string // what an objection that is upheld means
	follows    string // from a withdrawal of consent
}

func wordsIn(language string) phrases {
	if letter.Language(language) == paper.Danish {
		return phrases{
			everything: "Alle oplysninger, som vi har om dig",
			until: map[string]string{
				"18(1)(a)": "vi har undersøgt, om oplysningerne er rigtige",
				"18(1)(b)": "du beder os om at slette oplysningerne eller giver os lov til at bruge dem igen",
				"18(1)(c)": "du ikke længere har brug for oplysningerne til dit retskrav",
				"18(1)(d)": "vi har taget stilling til din indsigelse",
			},
			sent:      "det kan gælde beskeder, der var sendt af sted, før vi fik dit nej.",
			interests: "formål, der bygger på vores legitime interesser eller på en opgave i samfundets interesse",
			stopped:   "vi bruger ikke længere dine oplysninger til det.",
			follows:   "du får ikke længere det, som samtykket gjaldt.",
		}
	}
	return phrases{
		everything: "All data that we hold on you",
		until: map[string]string{
			"18(1)(a)": "we have looked into whether the data are right",
			"18(1)(b)": "you ask us to erase the data, or allow us to use them again",
			"18(1)(c)": "you no longer need the data for your legal claim",
			"18(1)(d)": "we have decided on your objection",
		},
		sent:      "that may be one that was on its way before your no reached us.",
		interests: "purposes that rest on our legitimate interests or on a task in the public interest",
		stopped:   "we no longer use your data for it.",
		follows:   "you no longer get what the consent was for.",
	}
}

// Tell implements post.Teller.
func (w restriction) Tell(_ context.Context, r *request.Request, item *request.Item) (letter.Fields, error) {
	say := wordsIn(r.Language)
	fields := letter.Fields{"restriction.scopeList": letter.Items(say.everything)}
	if p := item.Proposal; p != nil {
		fields["restriction.endCondition"] = letter.Text(say.until[p.Ground])
	}
	return fields, nil
}

// Tell implements post.Teller.
func (w marketing) Tell(_ context.Context, r *request.Request, _ *request.Item) (letter.Fields, error) {
	return letter.Fields{"marketing.inFlightNote": letter.Text(wordsIn(r.Language).sent)}, nil
}

// Tell implements post.Teller.
func (w withdrawal) Tell(ctx context.Context, r *request.Request, item *request.Item) (letter.Fields, error) {
	ctx, err := of(ctx, r)
	if err != nil || len(item.Results) == 0 {
		return nil, err
	}
	zone, err := time.LoadLocation(r.Deadline.Zone)
	if err != nil {
		return nil, fmt.Errorf("load the tenant's time zone: %w", err)
	}
	standings, err := w.Standings.Standings(ctx, r.Subject)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, st := range standings {
		if !slices.Contains(item.Results, st.ConsentID) {
			continue
		}
		p, err := w.Purposes.ByID(ctx, st.Purpose.ID)
		if err != nil {
			return nil, err
		}
		names = append(names, p.In(r.Language).Name)
	}
	fields := letter.Fields{
		"consent.purposeList": letter.Items(names...), "consent.receiptId": letter.Text(strings.Join(item.Results, ", ")),
		"consent.consequences": letter.Text(wordsIn(r.Language).follows),
	}
	if item.DoneAt != nil {
		fields["consent.proofEraseDate"] = letter.Date(civil.Of(item.DoneAt.In(zone)).AddMonths(12 * proofYears))
	}
	return fields, nil
}

// Tell implements post.Teller.
func (w objection) Tell(ctx context.Context, r *request.Request, item *request.Item) (letter.Fields, error) {
	v, err := w.WeighingOf(item)
	if err != nil {
		return nil, err
	}
	if v != nil {
		today, err := dayIn(r.Deadline.Zone, w.now())
		return letter.Fields{
			"objection.processing": letter.Text(v.Processing.Reveal()), "objection.effect": letter.Text(wordsIn(r.Language).stopped),
			"objection.compellingGrounds": letter.Prose(v.Compelling.Reveal()), "objection.balancing": letter.Prose(v.Balance.Reveal()),
			"objection.safeguards": letter.Text(v.Safeguards.Reveal()), "restriction.liftDate": letter.Date(today),
		}, err
	}
	ctx, err = of(ctx, r)
	if err != nil {
		return nil, err
	}
	say := wordsIn(r.Language)
	fields := letter.Fields{"objection.effect": letter.Text(say.stopped), "objection.processing": letter.Text(say.interests)}
	published, err := w.Purposes.Published(ctx)
	if err != nil {
		return nil, err
	}
	names := onInterests(published, r.Language)
	if len(names) > 0 {
		fields["objection.processing"] = letter.Text(strings.Join(names, ", "))
	}
	return fields, nil
}

// onInterests names the purposes that an objection stops.
func onInterests(all []*purpose.Purpose, language string) (names []string) {
	for _, p := range all {
		if slices.Contains(consent.StoppedBy(p), consent.ToInterests) {
			names = append(names, p.In(language).Name)
		}
	}
	return names
}
