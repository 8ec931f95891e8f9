package suite

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestPasses(t *testing.T) {
	if half, ok := Half(4); half != 2 || !ok {
		t.Error(half, ok)
	}
	t.Log("two\nlines")
	t.Attr("key", "value")
}

func TestFails(t *testing.T) {
	fmt.Print("printed without an end of line")
	if Sign(-3) != 1 {
		t.Errorf("it has another sign")
	}
	fmt.Fprintln(os.Stderr, "printed to standard error")
}

func TestSkips(t *testing.T) { t.Skip("for a reason") }

func TestTree(t *testing.T) {
	t.Run("a name with spaces", func(t *testing.T) {
		t.Run("deep/er", func(t *testing.T) { t.Log("here") })
		t.Run("fails", func(t *testing.T) { t.Fail() })
	})
	fmt.Println("in between")
	t.Run("skips", func(t *testing.T) { t.Skip() })
}

func TestFiles(t *testing.T) {
	text, err := os.ReadFile("testdata/text")
	if err != nil || string(text) != "some text\n" {
		t.Errorf("%q, %v", text, err)
	}
	source, err := os.ReadFile("suite.go")
	if err != nil || !strings.Contains(string(source), "package suite") {
		t.Errorf("%q, %v", source, err)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Error(err)
	}
	t.Log(dir)
}

// TestOrder writes to both outputs by turns.
func TestOrder(t *testing.T) {
	for i := range 20 {
		fmt.Fprintln(os.Stdout, "out", i)
		fmt.Fprintln(os.Stderr, "err", i)
	}
}

func ExampleHalf() {
	fmt.Println(Half(6))
	// Output: 3 true
}

// TestInside is the one test that knows where it runs.
func TestInside(t *testing.T) {
	if os.Getenv("SUITE_INSIDE") == "" {
		t.SkipNow()
	}
	init, err := os.ReadFile("/proc/1/comm")
	if err != nil || string(init) != "init\n" || os.Getenv("MAQET_IN_GUEST") != "1" || os.Getuid() != 0 {
		t.Errorf("not in the guest: %q, %v, user %d", init, err, os.Getuid())
	}
	for name, want := range map[string]string{
		"HOME": "/root", "TMPDIR": "", "SUITE_SETTING": "a b", "SUITE_SECRET": "", "GODEBUG": "x509sha1=1",
	} {
		if value := os.Getenv(name); value != want {
			t.Errorf("%s is %q", name, value)
		}
	}
	extra, err := os.ReadFile(os.Getenv("SUITE_INSIDE"))
	if err != nil || string(extra) != "extra" {
		t.Errorf("-copy: %q, %v", extra, err)
	}
	if n, err := os.Stdin.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("standard input has %d bytes, %v", n, err)
	}
	if err := os.WriteFile("written", nil, 0o600); err != nil {
		t.Error(err)
	}
	if dir := t.ArtifactDir(); os.WriteFile(dir+"/artifact", []byte("kept"), 0o600) != nil {
		t.Error(dir)
	}
}
