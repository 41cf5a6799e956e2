package detect

import "time"

// window counts different things within a span of time: those seen last, up to a
// threshold.
type window struct {
	queue []sight // in order of arrival; the same thing may be in it several times
	last  map[string]*latest
	fresh int // how many of last weren't counted yet
}

type sight struct {
	thing string
	at    time.Time
}

// latest is when a thing was seen last, and whether it was counted.
type latest struct {
	at      time.Time
	counted bool
}

// add notes that a thing was seen, and returns how many were seen that weren't
// counted before, once there are threshold of them within the span; else 0. With
// them comes when the first of those was seen.
func (w *window) add(thing string, at time.Time, threshold int, span time.Duration) (more int64, first time.Time) {
	if w.last == nil {
		w.last = map[string]*latest{}
	}
	if l := w.last[thing]; l == nil {
		w.last[thing] = &latest{at: at}
		w.fresh++
	} else if at.After(l.at) {
		l.at = at
	} else {
		return 0, first
	}
	w.queue = append(w.queue, sight{thing, at})
	w.prune(at.Add(-span), threshold)
	if len(w.last) < threshold || w.fresh == 0 {
		return 0, first
	}
	for i := len(w.queue) - 1; w.fresh > 0; i-- {
		if l := w.current(w.queue[i]); l != nil && !l.counted {
			l.counted = true
			more, first, w.fresh = more+1, l.at, w.fresh-1
		}
	}
	return more, first
}

// current returns the thing that s is the latest sight of; nil if it isn't.
func (w *window) current(s sight) *latest {
	if l := w.last[s.thing]; l != nil && l.at.Equal(s.at) {
		return l
	}
	return nil
}

// prune forgets what was seen at a time or before, and all but so many.
func (w *window) prune(until time.Time, most int) {
	for len(w.queue) > 0 {
		s := w.queue[0]
		if l := w.current(s); l != nil {
			if s.at.After(until) && len(w.last) <= most {
				return
			}
			if !l.counted {
				w.fresh--
			}
			delete(w.last, s.thing)
		}
		w.queue = w.queue[1:]
	}
}
