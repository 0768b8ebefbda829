package route

import (
	"regexp"
	"time"
)

// Options are what a tag says beyond its host and path. The zero value with a
// Weight and Retries of -1 is a plain HTTP route.
type Options struct {
	Strip          string    // prefix removed from the path before it is forwarded
	Prepend        string    // prefix added after Strip
	Host           string    // Host header for the instance; "dst" is the instance's own host:port; "" keeps the client's
	Proto          Proto     // how the instance is spoken to
	TLSSkipVerify  bool      // do not verify the instance's certificate (honoured only where the operator allows it)
	Weight         float64   // fixed share; < 0 when the tag asks for none
	Redirect       *Redirect // answer with a redirect instead of forwarding
	Access         *Access   // whom allow= and deny= let in; nil is everyone
	Auth           string    // name of a scheme of proxy.auth; "" is none
	Register       string    // service that the balancer registers itself as while the route exists
	ProxyProto     bool      // send the PROXY protocol's header to the instance
	GRPCServerName string    // name to verify a grpcs instance's certificate by

	// Beyond Fabio; docs/TAGS.md.
	Balance         Balance       // strategy=, where HasBalance
	HasBalance      bool          // a canary document's balance goes before it
	Timeout         time.Duration // for the response's head; 0 is proxy.responseheadertimeout
	Retries         int           // other instances tried; < 0 is proxy.retries
	RateLimit       *RateLimit    // of the route, on this balancer; nil is none
	MaxConn         int           // requests in flight of the route, on this balancer; 0 is no limit
	RequestHeaders  []HeaderEdit  // in order
	ResponseHeaders []HeaderEdit  // in order
	PathRewrite     *PathRewrite  // in place of Strip and Prepend
	Condition       *Condition    // the route serves only requests that it holds for; nil is all
	Priority        int           // routes of a host with a higher one are tried first, before longer paths
}

// Proto is how an instance is spoken to.
type Proto uint8

const (
	HTTP Proto = iota
	HTTPS
	TCP
	GRPC
	GRPCS
)

// Redirect is the target of redirect=code,url.
type Redirect struct {
	Code int    // 300..399
	URL  string // may hold $path and $host
}

// RateLimit allows PerSecond requests a second on average and Burst at once.
type RateLimit struct {
	PerSecond float64
	Burst     int
}

// HeaderOp is what a HeaderEdit does.
type HeaderOp uint8

const (
	HeaderSet HeaderOp = iota
	HeaderAdd
	HeaderRemove
)

// HeaderEdit changes one header. Name is in canonical form.
type HeaderEdit struct {
	Op          HeaderOp
	Name, Value string
}

// PathRewrite replaces the clean path where RE matches it, as
// regexp.ReplaceAllString does with To.
type PathRewrite struct {
	RE *regexp.Regexp
	To string

	longest int // bytes of a path that RE is matched with; longer ones stay. 0 is any
}

// Condition is what a request must be for a route to serve it: all that is set
// must hold.
type Condition struct {
	Methods []string     // any of them
	Headers []FieldMatch // all of them
	Query   []FieldMatch // all of them
}
