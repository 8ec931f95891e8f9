package backendtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/internal/testhost"
)

// TestPCGuest: pcCode is what testdata/pc.S assembles to.
func TestPCGuest(t *testing.T) {
	for _, tool := range []string{"as", "ld"} {
		_, err := exec.LookPath(tool)
		testhost.Needs(t, "an assembler (make setup installs one with the C compiler)", err)
	}
	dir := t.TempDir()
	object, binary := filepath.Join(dir, "pc.o"), filepath.Join(dir, "pc")
	for _, cmd := range []*exec.Cmd{
		exec.Command("as", "--32", "testdata/pc.S", "-o", object),
		exec.Command("ld", "-m", "elf_i386", "-Ttext", "0x230", "-e", "0", "--oformat", "binary", object, "-o", binary),
	} {
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	want, err := os.ReadFile(binary)
	require.NoError(t, err)
	require.Equal(t, string(want), pcCode)
	require.Less(t, 0x230+len(pcCode), 1024, "it fits into the setup part")
}
