// Package spelling guesses what somebody meant who wrote a name that does not
// exist.
package spelling

import "strings"

// longest is the length in bytes of what is looked at: nobody types a longer
// name, and the work grows with its square.
const longest = 64

// Nearest returns the one of known that written looks most like, or "" when
// none is close: a letter in three may be wrong, and one of a short name.
// Letters' case does not count; of equally close ones the first is returned.
func Nearest(written string, known []string) (nearest string) {
	if len(written) > longest {
		return ""
	}
	written = strings.ToLower(written)
	most := max(1, len(written)/3)
	for _, name := range known {
		if len(name) > len(written)+most || len(written) > len(name)+most {
			continue
		}
		if d := distance(written, strings.ToLower(name)); d <= most && d < len(name) {
			nearest, most = name, d-1
		}
	}
	return nearest
}

// distance counts the bytes to insert, delete, replace, or swap with their
// neighbour to make a of b (optimal string alignment).
func distance(a, b string) int {
	var before, above []int // the two rows above the present one
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, above, row = above, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := above[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(above[j]+1, row[j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
