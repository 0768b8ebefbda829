package proxy

// Status returns what the client is answered when its request ended with c
// before a response began. It is the one table for that.
func (c Class) Status() int {
	switch c {
	case ConnectError, Reset, Truncated:
		return 502
	case Timeout:
		return 504
	case ClientGone:
		return 499 // nginx's number; nobody receives it
	case ClientError:
		return 400
	case NoTarget:
		return 503
	}
	return 500
}

// StatusClass returns the class of a whole response with that status.
func StatusClass(status int) Class {
	switch {
	case status < 500:
		return OK
	case status >= 502 && status <= 504:
		return Unavailable
	}
	return ServerError
}
