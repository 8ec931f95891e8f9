package backendtest_test

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm/backendtest"
)

// breaksEnv names the promise that the backends of TestFake break.
const breaksEnv = "MAQET_BACKENDTEST_BREAKS"

// TestFake: a backend without QEMU keeps all promises, as long as it is not asked to break one.
func TestFake(t *testing.T) {
	breaks := os.Getenv(breaksEnv)
	o := backendtest.Options{New: fakeHarness(breaks), Lacks: []backendtest.Feature{backendtest.PC, backendtest.System}}
	if breaks != "" {
		o.Patience = time.Second
	}
	backendtest.Run(t, o)
}

// TestBrokenPromises: each promise that a backend breaks makes the case fail that is about it.
func TestBrokenPromises(t *testing.T) {
	for breaks, name := range map[string]string{
		"Check finds nothing":            "CheckNamesTheMachine",
		"time-outs are not scaled":       "Timeouts",
		"CPUs run at launch":             "LaunchHalted",
		"Exit is known before the end":   "LaunchHalted",
		"Continue does nothing":          "LaunchHalted",
		"Runtime is no copy":             "Runtime",
		"Runtime lacks the accelerator":  "Runtime",
		"Launch ignores its context":     "LaunchCancelled",
		"an ID is launched twice":        "LaunchTwice",
		"Attach finds strangers":         "AttachStranger",
		"Attach finds the dead":          "AttachGone",
		"Attach continues the guest":     "AttachShared",
		"Clean works once":               "CleanTwice",
		"Clean forgets something":        "EraseIsAll",
		"Clean takes the neighbour, too": "CleanSparesOthers",
		"Erase keeps the logs":           "EraseIsAll",
		"Done is never closed":           "HardRungs",
		"the ladder ends politely":       "Ladder",
		"polite steps wait for ever":     "PoliteRungsEnd",
		"Release stops the guest":        "ReleaseSpares",
		"Release lets QMP go on":         "ReleaseSpares",
		"Dial opens anything":            "DialUnknown",
		"Dial outwaits the guest":        "DialWaitEnds",
		"channels have many clients":     "DialTakesTurns",
		"Close ends nothing":             "CloseEndsEphemeral",
		"Close ends persistent guests":   "CloseKeepsPersistent",
		"Launch works after Close":       "Closed",
	} {
		t.Run(breaks, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestFake$/^"+name+"$", "-test.timeout=60s")
			cmd.Env = append(os.Environ(), breaksEnv+"="+breaks)
			out, err := cmd.CombinedOutput()
			var failed *exec.ExitError
			require.ErrorAs(t, err, &failed, "the case passed:\n%s", out)
			require.Contains(t, string(out), "--- FAIL: TestFake/"+name)
		})
	}
}
