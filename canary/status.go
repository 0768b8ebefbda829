package canary

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"serin/canary/rollout"
	"serin/route"
)

// State of a document.
const (
	StateOK      = "ok"
	StateInvalid = "invalid" // the newest text was refused, the last good one is in force
	StateLost    = "lost"    // the source does not answer; the last known share is in force
	StateStale   = "stale"   // the source does not answer for too long: ratio 0
)

// Status is what the Controller knows.
type Status struct {
	// Answered tells whether the source ever delivered a complete set.
	Answered  bool            `json:"answered"`
	Error     string          `json:"error,omitempty"` // why the source is lost
	LostSince *time.Time      `json:"lost_since,omitempty"`
	Services  []ServiceStatus `json:"services"` // in order of their names, "" first
}

// ServiceStatus is what is in force for one service, and why.
type ServiceStatus struct {
	Service string `json:"service"` // "" is all services without a document of their own
	State   string `json:"state"`
	// Source is the key or address that the document in force was read from;
	// Key the service's own key, which is watched as well.
	Source    string  `json:"source"`
	Key       string  `json:"key"`
	Wanted    float64 `json:"wanted"`
	Effective float64 `json:"effective"`
	Because   string  `json:"because,omitempty"` // why the two differ

	Document  json.RawMessage `json:"document,omitempty"` // in force
	Hash      string          `json:"hash,omitempty"`     // of the document in force
	LastGood  uint64          `json:"last_good"`          // index of the document in force
	AppliedAt *time.Time      `json:"applied_at,omitempty"`

	Index  uint64     `json:"index"`            // of the newest text, which LastGood differs from when that is refused or waits
	Loaded *time.Time `json:"loaded,omitempty"` // when it was read
	// Rejected is the newest text when it is refused. That of a file or a web
	// server is not shown: it may be one that nobody should see.
	Rejected string     `json:"rejected,omitempty"`
	Error    *Error     `json:"error,omitempty"` // why it is refused
	Waits    *time.Time `json:"waits,omitempty"` // update_rate holds the newest document back until then

	Rollout     *RolloutStatus `json:"rollout,omitempty"`     // nil: the document is no rollout
	Environment string         `json:"environment,omitempty"` // that this balancer is in
	Variants    []Variant      `json:"variants,omitempty"`    // for some clients, the first that matches counts
	Expires     *time.Time     `json:"expires,omitempty"`
	// Unresolved are the names in environments that stand for nobody, such as
	// "host office.example.com" and "service batch".
	Unresolved []string `json:"unresolved,omitempty"`

	SourceError string `json:"source_error,omitempty"` // why the source, this document, or the config_server is lost

	ownLost bool // SourceError is of the service's own key
}

// RolloutStatus is where a rollout is.
type RolloutStatus struct {
	ID    string        `json:"id,omitempty"`
	Phase rollout.Phase `json:"phase"`
	Step  int           `json:"step"` // of Steps, from 0
	Steps int           `json:"steps,omitempty"`
}

// Variant is what is in force for the clients of an environment.
type Variant struct {
	Environment string  `json:"environment"`
	Share       float64 `json:"share"` // of those that match
	Wanted      float64 `json:"wanted"`
	Effective   float64 `json:"effective"`
	Because     string  `json:"because,omitempty"`
}

// view is what Run's goroutine shows to others. Nothing in it is written after
// it became one.
type view struct {
	status    Status
	splits    route.Splits
	documents map[string]Raw
	inForce   map[string]*version // nil: none was ever valid
	told      told
	// environments has the one that this balancer is in, by service.
	environments map[string]string
}

func (c *Controller) show(v view) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.view = v
}

func (c *Controller) current() view {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.view
}

// Status returns what is known of all documents. The answer is the caller's to
// read, not to change.
func (c *Controller) Status() Status { return c.current().status }

// ServiceStatus returns what is in force for a service: its own document, else
// the one for all services. It is false when neither is there.
func (c *Controller) ServiceStatus(service string) (ServiceStatus, bool) {
	var common *ServiceStatus
	for _, s := range c.current().status.Services {
		switch s.Service {
		case service:
			return s, true
		case "":
			common = &s
		}
	}
	if common == nil {
		return ServiceStatus{}, false
	}
	common.Service = service
	return *common, true
}

// Documents returns the last good document of each service, to be Restored
// when the process starts without its source.
func (c *Controller) Documents() map[string]Raw { return c.current().documents }

// Problems returns what an operator should look at, a sentence each: documents
// that are refused, and sources that are lost. None is nil.
func (c *Controller) Problems() (out []string) {
	s := c.Status()
	if s.Error != "" {
		out = append(out, "canary documents cannot be read: "+s.Error)
	}
	for _, d := range s.Services {
		if d.Error != nil {
			out = append(out, d.Error.Error())
		}
		if d.SourceError != "" && d.SourceError != s.Error {
			what := "config_server cannot be read"
			if d.ownLost {
				what = "it cannot be read, the last known one stays"
			}
			out = append(out, fmt.Sprintf("%s: %s: %s", d.Key, what, d.SourceError))
		}
		for _, name := range d.Unresolved {
			out = append(out, fmt.Sprintf("%s: environments ask for %s, which no address is known of", d.Source, name))
		}
	}
	return out
}

// look takes the picture of the present state.
func (r *run) look(splits route.Splits) view {
	v := view{splits: splits, documents: map[string]Raw{}, inForce: map[string]*version{}, environments: map[string]string{}, told: r.told}
	v.status.Services = []ServiceStatus{}
	if r.main != nil {
		v.status.Answered = r.main.answered
		v.status.LostSince = moment(r.main.lostSince)
		if r.main.err != nil {
			v.status.Error = r.main.err.Error()
		}
	}
	for _, service := range slices.Sorted(maps.Keys(r.entries)) {
		e := r.entries[service]
		v.status.Services = append(v.status.Services, e.look(r.entries[""]))
		if e.inForce != nil && !e.inForce.deleted {
			v.documents[service] = e.inForce.raw
		}
		v.inForce[service], v.environments[service] = e.inForce, e.made.environment
		if common := r.entries[""]; e.inForce == nil && e.inherits && common != nil {
			v.inForce[service] = common.inForce
		}
	}
	return v
}

func (e *entry) look(common *entry) ServiceStatus {
	newest := &e.own
	if e.remote != nil && e.own.err == nil && (e.remote.slot.good != nil || e.remote.slot.err != nil) {
		newest = &e.remote.slot
	}
	s := ServiceStatus{
		Service: e.service, Key: e.own.raw.Key, State: StateOK, Source: e.own.raw.Key,
		Wanted: e.split.Wanted, Effective: e.split.Ratio, Because: e.split.Because,
		Environment: e.made.environment, Unresolved: e.made.unknown,
		AppliedAt: moment(e.appliedAt), Waits: moment(e.pending),
		Index: newest.raw.Index, Loaded: moment(newest.at), Error: newest.err,
	}
	v := e.inForce
	if v == nil && e.inherits && common != nil {
		v = common.inForce
	}
	if v != nil {
		s.Source, s.Hash, s.LastGood = v.raw.Key, v.hash, v.raw.Index
		if !v.deleted {
			s.Document = json.RawMessage(v.raw.Value)
		}
		s.Expires = v.doc.Expires
		if v.plan != nil && v == e.asked.of {
			s.Rollout = &RolloutStatus{ID: v.plan.ID, Phase: e.asked.phase, Step: e.asked.step, Steps: len(v.plan.Steps)}
		}
	}
	for _, p := range e.made.parts {
		s.Variants = append(s.Variants, Variant{Environment: p.environment, Share: p.share, Wanted: p.wanted, Effective: p.ratio, Because: p.because})
	}
	lost := e.inForce != nil && e.inForce.restored
	for _, f := range e.feeds() {
		if f.err != nil {
			s.SourceError, lost = f.err.Error(), lost || f == e.from
		}
	}
	if rem := e.remote; rem != nil && rem.slot.good == nil && rem.slot.err == nil {
		s.SourceError = cmp.Or(s.SourceError, "no document was read there yet")
	}
	if e.lostErr != nil {
		s.SourceError, s.ownLost = e.lostErr.Error(), true
		lost = lost || e.remote == nil || e.from != e.remote.feed
	}
	switch {
	case newest.err != nil:
		s.State = StateInvalid
		if newest == &e.own || strings.HasPrefix(e.remote.address, "consul:") {
			s.Rejected = string(newest.raw.Value)
		}
	case lost && e.split.Ratio < e.split.Wanted:
		s.State = StateStale
	case lost:
		s.State = StateLost
	}
	return s
}

// feeds are the sources of the entry, the one whose loss matters last.
func (e *entry) feeds() (out []*feed) {
	if e.from != nil {
		out = append(out, e.from)
	}
	if e.remote != nil && e.remote.feed != e.from {
		out = append(out, e.remote.feed)
	}
	return out
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// Hash identifies the text of a document, for people and as an ETag.
func Hash(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
