package proxy

// Reason is why Serin answered a request itself: the label of refusals in
// metrics and logs.
type Reason uint8

const (
	NoReason           Reason = iota // it did not, or the request failed on its way
	ReasonRedirect                   // the route is a redirect
	ReasonNoRoute                    // no route for its host and path
	ReasonNoInstance                 // no instance of the service is available
	ReasonFull                       // the service has as many requests in flight as it may
	ReasonUnknown                    // the catalog is not known yet
	ReasonMalformed                  // its path, or its host where the answer needs it, cannot be read
	ReasonAmbiguous                  // its path could mean another one, and access rules hold for its host
	ReasonAccess                     // allow= or deny= keeps the client out
	ReasonAuth                       // its credentials are missing or wrong
	ReasonAuthBusy                   // too many passwords are being checked
	ReasonRedirectLoop               // the route redirects to what was asked for, and no other route serves it
	ReasonLoop                       // it has come back
	ReasonRateLimit                  // ratelimit= of its route
	ReasonMaxConn                    // maxconn= of its route
)

var reasonNames = [...]string{
	"", "redirect", "no_route", "no_instance", "full", "unknown", "malformed", "ambiguous", "access", "auth", "auth_busy", "redirect_loop", "loop", "rate_limit", "max_conn",
}

// String returns the label used in metrics and logs; "" for NoReason.
func (r Reason) String() string { return reasonNames[r] }
