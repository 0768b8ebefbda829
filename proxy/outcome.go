package proxy

import (
	"net/netip"
	"time"

	"serin/route"
)

// Class is what became of a request, or of one attempt, as seen from the
// instance's side: only some of it is the instance's fault.
type Class uint8

const (
	OK           Class = iota // the instance answered, whole, below 500
	ServerError               // it answered 5xx, whole; but see Unavailable
	Unavailable               // it answered 502, 503 or 504, whole: what says that it cannot work now
	ConnectError              // no connection to it could be made: nothing was sent
	Timeout                   // it did not answer in time
	Reset                     // it closed or reset before its response began, or what it sent was no HTTP
	Truncated                 // its response ended in the middle
	ClientGone                // the client went away (logged as 499)
	ClientError               // the client's request was at fault (4xx of ours): never charged to an instance
	NoTarget                  // no route, or no instance to send to
	Answered                  // Serin answered itself: redirect, refusal, limit
)

var classNames = [...]string{"ok", "server_error", "unavailable", "connect_error", "timeout", "reset", "truncated", "client_gone", "client_error", "no_target", "answered"}

// String returns the label used in metrics and logs.
func (c Class) String() string { return classNames[c] }

// Failed reports whether c counts against the instance and its arm.
func (c Class) Failed() bool { return c >= ServerError && c <= Truncated }

// Outcome is the whole story of one request. It is told exactly once, also
// when the request was aborted, cancelled or panicked. The receiver must not
// keep it: it is reused.
type Outcome struct {
	Start     time.Time
	Duration  time.Duration
	FirstByte time.Duration // until the response's head came from the instance; 0 when it never did

	Method, Host, Path, Query, HTTPVersion string
	Scheme                                 string     // http or https, as the client came
	Client                                 netip.Addr // believed
	Remote                                 netip.AddrPort
	UserAgent, Referer, RequestID          string
	Logged                                 []string // values of Core.LogHeaders, as the client sent them; nil when it was refused before

	Service string        // "" when no route matched
	Arm     route.ArmName // the arm first chosen: failures stay charged to it
	Why     Why           // why that arm
	Panic   bool          // too few instances were usable: ejections (or Consul's critical) were ignored
	Target  *route.Target // the instance that answered, or was tried last; nil when none was
	Route   *route.Route
	// Split is what divided the client's requests; nil when no route matched.
	Split *route.Split
	// Randomised is set where chance, a turn or the client's key chose the arm
	// while both arms could serve: what the arms' outcomes may be compared by.
	Randomised bool
	GRPC       int // grpc-status of the first attempt's response, -1 when it had none
	// FirstAddr is the instance tried first, and FirstTook the time until its
	// response's head came or it failed; "" when none was.
	FirstAddr string
	FirstTook time.Duration
	// UpstreamPath is the raw path that Target was asked for, "" when none was.
	UpstreamPath string

	Status     int // as the client got it; 499 when it had gone; 101 for an upgrade
	Class      Class
	FirstClass Class  // of the first attempt: what evidence charges to Arm
	Attempts   int    // instances tried
	Reason     Reason // why Serin answered itself; NoReason where it did not
	Received   int64  // bytes of the client's body
	Sent       int64  // bytes of the response's body

	Key    uint64 // sticky position of the client, 0 when there is none
	HasKey bool
	Err    error // what went wrong, for the log; nil when nothing did
}

// Why says why an arm was chosen.
type Why uint8

const (
	WhyNone     Why = iota // no document
	WhyRule                // a match rule of the document
	WhySticky              // the client's key
	WhyChance              // a draw
	WhyTurn                // round robin
	WhyNoCanary            // wanted canary; too few healthy canaries
	WhyNoStable            // wanted stable; no healthy stable
	WhyBackup              // neither had a healthy instance
	WhyPanic               // proxy.panic.critical
)

var whyNames = [...]string{"default", "rule", "sticky", "chance", "turn", "no_canary", "no_stable", "backup", "panic"}

// String returns the label used in logs.
func (w Why) String() string { return whyNames[w] }
