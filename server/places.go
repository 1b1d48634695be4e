package server

// This file is arithmetic about the places of a member: its max peers, and who they are for. It knows neither
// topics nor sessions.

// unlimitedPlaces stands for the places of a member whose max peers are not limited, when places are counted.
const unlimitedPlaces = 1024

// foreignShare returns how many of a member's places are for clients of other gateways.
func foreignShare(maxPeers int) int { return max(maxPeers/4, 1) }

// foreignPlaces returns how many peers of other hosts a member may come to have beside so many clients that it may
// be connected with here.
func foreignPlaces(maxPeers, here int) int {
	if maxPeers < 0 {
		return unlimitedPlaces
	}
	return min(max(maxPeers-here, foreignShare(maxPeers)), unlimitedPlaces)
}
