package main

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// asProgram is set in the environment of processes in which the test's binary is the program.
const asProgram = "SWARM_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}
