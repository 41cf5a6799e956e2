package deadline

import (
	"fmt"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/calendar"
	"github.com/vogter/vogter/internal/civil"
)

// Language is what a trace is written in.
type Language string

// The languages.
const (
	Danish  Language = "da"
	English Language = "en"
)

// Step is one sentence of a trace, in each language. It holds dates only.
type Step struct {
	Da string `json:"da"`
	En string `json:"en"`
}

// In returns the sentence in a language, English unless it is Danish.
func (s Step) In(l Language) string {
	if l == Danish {
		return s.Da
	}
	return s.En
}

// Trace tells how a clock was computed.
type Trace []Step //nolint:recvcheck // it grows while it is written, and is a value then

// Lines returns the sentences in a language.
func (t Trace) Lines(l Language) []string {
	lines := make([]string, len(t))
	for i, s := range t {
		lines[i] = s.In(l)
	}
	return lines
}

// Text returns all in one paragraph, as letters print it.
func (t Trace) Text(l Language) string { return strings.Join(t.Lines(l), " ") }

func (t *Trace) add(da, en string) {
	if t != nil {
		*t = append(*t, Step{da, en})
	}
}

func (t *Trace) received(f Facts) {
	at := f.ReceivedAt.In(f.Zone)
	d := civil.Of(at)
	t.add(
		fmt.Sprintf("Modtaget %s kl. %s (%s). Den dag tæller ikke med.", Long(d, Danish), at.Format("15.04"), f.Zone),
		fmt.Sprintf("Received on %s at %s (%s). That day does not count.", Long(d, English), at.Format("15:04"), f.Zone),
	)
}

func (t *Trace) paused(from, to civil.Date) {
	n := to.DaysSince(from)
	t.add(
		fmt.Sprintf("Fristen stod stille fra %s til %s, mens vi ventede på svar: %s.", Short(from, Danish), Short(to, Danish), count(n, "dag", "dage")),
		fmt.Sprintf("The time limit stood still from %s to %s, while an answer was awaited: %s.", Short(from, English), Short(to, English), count(n, "day", "days")),
	)
}

func (t *Trace) open(f Facts, p Pause) {
	d := civil.Of(p.From.In(f.Zone))
	t.add(
		fmt.Sprintf("Fristen står stille siden %s, mens vi venter på svar. Den nye frist beregnes, når svaret er kommet.", Short(d, Danish)),
		fmt.Sprintf("The time limit has stood still since %s, while an answer is awaited. The new date is computed when the answer has come.", Short(d, English)),
	)
}

func (t *Trace) idle(f Facts, p Pause) {
	d := civil.Of(p.From.In(f.Zone))
	t.add(
		fmt.Sprintf("Der blev spurgt %s. Det var for sent til at standse fristen: 0 dage.", Short(d, Danish)),
		fmt.Sprintf("A question was asked on %s. That was too late to stop the time limit: 0 days.", Short(d, English)),
	)
}

func (t *Trace) extended() {
	t.add(
		"Fristen er forlænget og regnes som én periode på tre måneder fra modtagelsen.",
		"The period is extended and counts as one period of three months from receipt.",
	)
}

func (t *Trace) months(from civil.Date, n int, to civil.Date) {
	clampedDa, clampedEn := "", ""
	if from.Day != to.Day {
		clampedDa, clampedEn = " (månedens sidste dag)", " (the last day of that month)"
	}
	t.add(
		fmt.Sprintf("%s + %s = %s%s, en %s.", Short(from, Danish), count(n, "måned", "måneder"), Short(to, Danish), clampedDa, weekday(to, Danish)),
		fmt.Sprintf("%s + %s = %s%s, a %s.", Short(from, English), count(n, "month", "months"), Short(to, English), clampedEn, weekday(to, English)),
	)
}

func (t *Trace) readings(plain civil.Date, days int, suspended, resumed civil.Date, n int, restarted civil.Date) {
	earlier := suspended
	if restarted.Before(suspended) {
		earlier = restarted
	}
	t.add(
		fmt.Sprintf("%s + %s = %s. Regnet forfra fra svaret: %s + %s = %s. Den tidligste dato gælder: %s, en %s.",
			Short(plain, Danish), count(days, "dag", "dage"), Short(suspended, Danish), Short(resumed, Danish), count(n, "måned", "måneder"),
			Short(restarted, Danish), Short(earlier, Danish), weekday(earlier, Danish)),
		fmt.Sprintf("%s + %s = %s. Counted anew from the answer: %s + %s = %s. The earlier date counts: %s, a %s.",
			Short(plain, English), count(days, "day", "days"), Short(suspended, English), Short(resumed, English), count(n, "month", "months"),
			Short(restarted, English), Short(earlier, English), weekday(earlier, English)),
	)
}

// rolled tells of each day that isn't a working day.
func (t *Trace) rolled(cal *calendar.Calendar, from, to civil.Date) {
	if from == to {
		return
	}
	var da, en []string
	for d := from; d != to; d = d.AddDays(1) {
		name, holiday := cal.Holiday(d)
		if !holiday {
			name = calendar.Name{Da: "en " + weekday(d, Danish), En: "a " + weekday(d, English)}
		}
		da = append(da, Short(d, Danish)+" er "+name.Da)
		en = append(en, Short(d, English)+" is "+name.En)
	}
	t.add(
		fmt.Sprintf("%s. Fristen flyttes til næste arbejdsdag: %s.", join(da, " og "), Long(to, Danish)),
		fmt.Sprintf("%s. The period ends on the next working day: %s.", join(en, " and "), Long(to, English)),
	)
}

func (t *Trace) due(d civil.Date, zone *time.Location) {
	t.add(
		fmt.Sprintf("Fristen udløber ved udgangen af %s (kl. 24, %s).", Long(d, Danish), zone),
		fmt.Sprintf("The period ends at the end of %s (24:00, %s).", Long(d, English), zone),
	)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func join(list []string, and string) string {
	if len(list) == 1 {
		return list[0]
	}
	return strings.Join(list[:len(list)-1], ", ") + and + list[len(list)-1]
}

// Long writes a day with its weekday: "tirsdag den 7. april 2026", "Tuesday 7 April 2026".
func Long(d civil.Date, l Language) string {
	if l == Danish {
		return weekday(d, l) + " den " + Short(d, l)
	}
	return weekday(d, l) + " " + Short(d, l)
}

// Short writes a day as letters do: "7. april 2026", "7 April 2026".
func Short(d civil.Date, l Language) string { return d.In(string(l)) }

func weekday(d civil.Date, l Language) string {
	if l == Danish {
		return [...]string{"søndag", "mandag", "tirsdag", "onsdag", "torsdag", "fredag", "lørdag"}[d.Weekday()]
	}
	return d.Weekday().String()
}
