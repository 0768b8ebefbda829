package route

import (
	"fmt"
	"slices"
)

// capped returns the split with Ratio as high as Overload allows with so many
// ready instances, and with the same done to its variants: a copy where that
// changes something, else s. A part without ready canaries is left to the
// guards of health.
func (s *Split) capped(stable, canary int) *Split {
	out := s.capTo(stable, canary)
	for i := range s.Variants {
		was := s.Variants[i].Split
		if is := was.capTo(stable, canary); is != was {
			if out == s {
				own := *s
				out = &own
			}
			if &out.Variants[0] == &s.Variants[0] {
				out.Variants = slices.Clone(s.Variants)
			}
			out.Variants[i].Split = is
		}
	}
	return out
}

func (s *Split) capTo(stable, canary int) *Split {
	if !(s.Overload > 0) || canary == 0 || stable == 0 {
		return s
	}
	load := s.Overload * float64(canary)
	most := load / (load + float64(stable))
	if load > 1e300 || s.Ratio <= most {
		return s
	}
	own := *s
	own.Ratio, own.capacity = most, fmt.Sprintf("capacity: %d canary, %d stable", canary, stable)
	return &own
}

// Capacity says why Ratio is less than the document's, where it is the
// instances of one part and Overload that allow no more; "" where they do.
func (s *Split) Capacity() string { return s.capacity }
