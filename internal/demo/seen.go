package demo

import "net/http"

// Seen says how often a request with one id came.
type Seen struct {
	Received  int `json:"received"`  // read whole
	Completed int `json:"completed"` // and answered whole, with 200
}

// maxSeen bounds the ids that are remembered; the oldest go first.
const maxSeen = 200_000

// ledger remembers requests by id.
type ledger struct {
	byID      map[string]*Seen
	order     []string // a ring, once it is full
	next      int
	forgotten int
}

func (l *ledger) at(id string) *Seen {
	if e := l.byID[id]; e != nil {
		return e
	}
	if l.byID == nil {
		l.byID = map[string]*Seen{}
	}
	if len(l.order) < maxSeen {
		l.order = append(l.order, id)
	} else {
		delete(l.byID, l.order[l.next])
		l.order[l.next] = id
		l.next = (l.next + 1) % maxSeen
		l.forgotten++
	}
	e := new(Seen)
	l.byID[id] = e
	return e
}

func (s *Service) note(id string, change func(*Seen)) {
	if id == "" || len(id) > 256 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s.seen.at(id))
}

// serveSeen answers {"seen": {id: {"received", "completed"}}, "forgotten": n},
// where forgotten counts ids that had to make room for newer ones.
func (s *Service) serveSeen(w http.ResponseWriter, r *http.Request) {
	ids := r.URL.Query()["id"]
	out := map[string]Seen{}
	s.mu.Lock()
	if len(ids) == 0 {
		for id, e := range s.seen.byID {
			out[id] = *e
		}
	}
	for _, id := range ids {
		if e := s.seen.byID[id]; e != nil {
			out[id] = *e
		} else {
			out[id] = Seen{}
		}
	}
	forgotten := s.seen.forgotten
	s.mu.Unlock()
	s.answer(w, http.StatusOK, map[string]any{"seen": out, "forgotten": forgotten})
}
