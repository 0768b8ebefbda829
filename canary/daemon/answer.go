package daemon

import (
	"strconv"
	"strings"
)

// Arm is where a client goes, in the words of the protocol.
type Arm string

const (
	Master Arm = "master" // the stable version
	Canary Arm = "canary"
)

// Asked is what a client sent in place of an assignment.
type Asked string

const (
	First      Asked = "first"      // nothing: it has none yet
	Held       Asked = "held"       // the one it holds
	Unreadable Asked = "unreadable" // no number from 0 up to 1, which itself is out
)

// Answer is what a client is told, and what led to it.
type Answer struct {
	// Assignment is the client's place on the line from 0 up to 1, for the client
	// to hold and to send with its next request.
	Assignment string
	Arm        Arm
	Asked      Asked
	Known      bool // the canary's share was known
}

// Decide answers a client that sent asked, at the canary's share ratio; ok tells
// whether that is known. random is uniform in [0, 1): the assignment of a client
// that has none. It is pure.
//
// The client goes to the canary where its assignment is below the ratio. So it
// stays with its arm, moves to the canary once while the ratio grows, and nobody
// has to remember it. Whose assignment cannot be read gets another, and goes to
// master this once, whatever the ratio. Without a ratio from 0 to 1 everybody
// goes to master.
func Decide(asked string, ratio float64, ok bool, random float64) Answer {
	a := Answer{Arm: Master, Asked: First, Known: ok && ratio >= 0 && ratio <= 1}
	at := random
	if asked != "" {
		a.Asked = Held
		var readable bool
		if at, readable = parse(asked); !readable {
			at, a.Asked = random, Unreadable
		}
	}
	a.Assignment = format(at)
	if a.Known && a.Asked != Unreadable && at < ratio {
		a.Arm = Canary
	}
	return a
}

// parse reads an assignment: a decimal number as Go, Python and JSON print them,
// from 0 up to 1. Go's other forms (NaN, Inf, hexadecimal, underscores) are none,
// because no client was ever told one.
func parse(text string) (float64, bool) {
	if strings.Trim(text, "0123456789.eE+-") != "" {
		return 0, false
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v < 0 || v >= 1 {
		return 0, false
	}
	return v + 0, true // -0 is 0
}

// format prints an assignment in the shortest form that reads back as the same
// number: what Go's fmt prints for it, and Python but for 0.
func format(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
