// Package hostname reads hosts and the origins of pages as people write them, and returns them as
// browsers do: bücher.example is xn--bcher-kva.example, https://App.example:443 is
// https://app.example.
package hostname
