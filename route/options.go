package route

// Options are what a tag says beyond its host and path. The zero value with a
// Weight of -1 is a plain HTTP route.
type Options struct {
	Strip         string    // prefix removed from the path before it is forwarded
	Prepend       string    // prefix added after Strip
	Host          string    // Host header for the instance; "dst" is the instance's own host:port; "" keeps the client's
	Proto         Proto     // how the instance is spoken to
	TLSSkipVerify bool      // do not verify the instance's certificate (honoured only where the operator allows it)
	Weight        float64   // fixed share; < 0 when the tag asks for none
	Redirect      *Redirect // answer with a redirect instead of forwarding
}

// Proto is how an instance is spoken to.
type Proto uint8

const (
	HTTP Proto = iota
	HTTPS
)

// Redirect is the target of redirect=code,url.
type Redirect struct {
	Code int    // 300..399
	URL  string // may hold $path and $host
}
