package guard

import "net"

// Listener returns ln with every accepted connection wrapped by [New]; its
// connections are of type [*Conn] (http.Server.ConnContext is told them).
func Listener(ln net.Listener, o Options) net.Listener {
	return &listener{ln, o.withDefaults()}
}

type listener struct {
	net.Listener
	options Options
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: c, options: &l.options}, nil
}
