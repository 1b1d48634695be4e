package server

import (
	"cmp"
	"slices"
)

// partsOf returns the parts of all that fall together if those that mates yields are connected,
// the greatest first.
func partsOf[M comparable](all []M, mates func(m M, yield func(M))) (parts [][]M) {
	seen := make(map[M]bool, len(all))
	for _, m := range all {
		seen[m] = false
	}
	for _, m := range all {
		if seen[m] {
			continue
		}
		seen[m] = true
		part := []M{m}
		for i := 0; i < len(part); i++ {
			mates(part[i], func(o M) {
				if done, known := seen[o]; known && !done {
					seen[o] = true
					part = append(part, o)
				}
			})
		}
		parts = append(parts, part)
	}
	slices.SortStableFunc(parts, func(a, b []M) int { return cmp.Compare(len(b), len(a)) })
	return parts
}

// roomiest returns those at most n of part that have the most places left, and one at least.
func roomiest[M any](part []M, n int, placesOf func(M) *places) []M {
	room := slices.DeleteFunc(slices.Clone(part), func(m M) bool { return placesOf(m).left() == 0 })
	slices.SortStableFunc(room, func(a, b M) int { return cmp.Compare(placesOf(b).left(), placesOf(a).left()) })
	return room[:min(n, len(room))]
}

// takers returns at most n of part that can take one more circuit that is needed: those that
// have the most places left, or if there are none, those for which another circuit may end.
func takers[M any](part []M, n int, placesOf func(M) *places, swaps func(M) bool) []M {
	all := roomiest(part, n, placesOf)
	if len(all) > 0 {
		return all
	}
	for _, m := range part {
		if len(all) < n && placesOf(m).maySwap() && swaps(m) {
			all = append(all, m)
		}
	}
	return all
}

// lacksFar reports whether a part of a gateway's mesh lacks a circuit with another gateway: it
// has opened none though there are clients above, that is of gateways with greater ids, which
// only we dial; or it has none though there are others.
func lacksFar(outward, far int, above, below bool) bool {
	return outward == 0 && above || far == 0 && below
}
