package admin

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"serin/canary/rollout"
)

// Fleet is this balancer's part in the rollouts of all; *rollout.Fleet is one.
// Its methods are called concurrently.
type Fleet interface {
	Status(service string) (rollout.Status, bool)
	Balancers(service string) []rollout.NodeStatus
	History(ctx context.Context, service string) ([]rollout.Event, error)
	Events(ctx context.Context, seq uint64) []rollout.Event
}

// History is the audit ring of a rollout.
type History struct {
	Service string          `json:"service"` // "*" is the document of all services without one of their own
	Events  []rollout.Event `json:"events"`  // the newest first
}

func (s *Server) history(w http.ResponseWriter, r *http.Request) {
	out := History{Service: s.rolloutOf(r.PathValue("service")), Events: []rollout.Event{}}
	if s.Fleet != nil {
		events, err := s.Fleet.History(r.Context(), out.Service)
		if err != nil {
			fail(w, http.StatusBadGateway, err.Error(), "GET /api/v1/events tells what happened in this process")
			return
		}
		out.Events = append(out.Events, events...)
	}
	answer(w, out)
}

// Events is what happened in this process.
type Events struct {
	Events []rollout.Event `json:"events"`
	Next   uint64          `json:"next"` // what after is to be next time
}

// maxWait bounds how long a request for events may wait.
const maxWait = time.Minute

func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	const hint = "such as ?after=17&wait=30s; wait is at most 1m"
	q := r.URL.Query()
	out := Events{Events: []rollout.Event{}}
	var wait time.Duration
	var err error
	if text := q.Get("after"); text != "" {
		out.Next, err = strconv.ParseUint(text, 10, 64)
	}
	if text := q.Get("wait"); text != "" && err == nil {
		wait, err = time.ParseDuration(text)
	}
	if err != nil || wait < 0 || wait > maxWait {
		fail(w, http.StatusBadRequest, "after or wait cannot be read"+because(err), hint)
		return
	}
	if s.Fleet != nil {
		ctx, cancel := context.WithTimeout(r.Context(), wait)
		defer cancel()
		if end, ok := ctx.Value(ending{}).(context.Context); ok {
			defer context.AfterFunc(end, cancel)()
		}
		out.Events = append(out.Events, s.Fleet.Events(ctx, out.Next)...)
	}
	for _, e := range out.Events {
		out.Next = max(out.Next, e.Seq)
	}
	answer(w, out)
}

// ending is the key of the context that ends when the server is to stop, in the
// contexts of its requests: those that wait need not be waited for.
type ending struct{}
