package route

import "fmt"

// offsetError is a mistake at a byte offset of a text.
type offsetError struct {
	offset int
	err    error
}

func (e *offsetError) Error() string { return fmt.Sprintf("at offset %d: %v", e.offset, e.err) }
func (e *offsetError) Unwrap() error { return e.err }
