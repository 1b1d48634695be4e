package server

import "testing"

// Two parts of the mesh whose members were all full stayed two: no rule ended a circuit.
func TestSurplus(t *testing.T) {
	type far = farCircuit[string]
	for _, test := range []struct {
		name   string
		all    []far
		opened int
		needy  string
		kept   int
		want   int
	}{
		{"none", nil, 0, "c", 0, -1},
		{"the only one that its part opened", []far{{"e", true, false}}, 1, "c", 0, -1},
		{"one of two that its part opened", []far{{"e", true, false}}, 2, "c", 0, 0},
		{"what was opened to help is kept", []far{{"e", true, true}, {"f", true, false}}, 2, "c", 0, 1},
		{"unless there is nothing else", []far{{"e", true, true}, {"f", true, true}}, 2, "c", 0, 1},
		{"rather one from a smaller gateway", []far{{"e", true, true}, {"a", false, false}}, 2, "c", 0, 1},
		{"the smallest", []far{{"b", false, false}, {"a", false, false}, {"e", true, false}}, 1, "c", 0, 1},
		{"none from a greater one than the needy", []far{{"d", false, false}, {"e", true, false}}, 1, "c", 0, -1},
		{"none from the needy one", []far{{"c", false, false}, {"e", true, false}}, 1, "c", 0, -1},
		{"for the own need any", []far{{"d", false, false}, {"e", true, false}}, 1, ownNeed, 0, 0},
		{"one that was not given is kept", []far{{"b", false, true}, {"a", false, false}, {"e", true, false}}, 1, "c", 1, 0},
		{"whatever is asked", []far{{"d", false, true}, {"a", false, false}, {"e", true, false}}, 1, "c", 1, -1},
		{"of two one is not kept", []far{{"b", false, false}, {"a", false, false}, {"e", true, false}}, 1, "c", 1, 1},
	} {
		if got := surplus(test.all, test.opened, test.needy, test.kept); got != test.want {
			t.Errorf("%s: %d ends, want %d", test.name, got, test.want)
		}
	}
}

func TestPlacesForNeeds(t *testing.T) {
	full := func(maxPeers int) places { return places{maxPeers: maxPeers, taken: maxPeers, mates: maxPeers} }
	last := func(maxPeers int) places { return places{maxPeers: maxPeers, taken: maxPeers - 1, mates: maxPeers - 1} }
	swapping := full(3)
	swapping.swaps = 1
	for _, test := range []struct {
		name                       string
		places                     places
		dials, dialsForNeed, swaps bool
		accepts, acceptsNeed       bool
	}{
		{"nothing taken of two", places{maxPeers: 2}, true, true, false, true, true},
		{"the last of two", last(2), false, true, false, false, true},
		{"full, of two", full(2), false, false, true, false, false},
		{"full, of one", full(1), false, false, false, false, false},
		{"the last of three", last(3), false, true, false, false, true},
		{"two of three free", places{maxPeers: 3, taken: 1, mates: 1}, true, true, false, true, true},
		{"full, and another circuit can end", swapping, false, true, true, false, false},
		{"no limit", places{maxPeers: -1, taken: 100, mates: 100}, true, true, false, true, true},
	} {
		p := test.places
		if got := p.mayDialFar(0, false); got != test.dials {
			t.Errorf("%s: may dial: %v", test.name, got)
		}
		if got := p.mayDialFar(0, true); got != test.dialsForNeed {
			t.Errorf("%s: may dial for a need: %v", test.name, got)
		}
		if got := p.maySwap(); got != test.swaps {
			t.Errorf("%s: another may end: %v", test.name, got)
		}
		if got := p.mayAcceptFar(false, false, false); got != test.accepts {
			t.Errorf("%s: accepts: %v", test.name, got)
		}
		if got := p.mayAcceptFar(true, false, false); got != test.acceptsNeed {
			t.Errorf("%s: accepts a need: %v", test.name, got)
		}
	}
}
