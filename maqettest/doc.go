// Package maqettest boots QEMU guests in Go tests.
//
//	func TestKernel(t *testing.T) {
//		g := maqettest.Boot(t)
//		res := g.Run("uname", "-s")
//		require.Equal(t, "Linux\n", string(res.Stdout))
//	}
//
// Each guest is cleared away when its test ends, however it ends; that is arranged
// before anything is started. When the test fails, its log shows the end of the console
// and of QEMU's stderr. A folder with the VM's name below tb.ArtifactDir (which go test
// -artifacts keeps) gets the whole of both as console.log and qemu.log, what was said
// over QMP since Boot as qmp.log, the configuration as config.json, and QEMU's command
// line, quoted for a shell, as qemu-args.txt; of a guest with a display also what it
// shows, as screen.png.
//
// Where QEMU or a kernel is missing, the test is skipped with the command that installs
// it. MAQET_REQUIRE=1 turns that into a failure.
//
// t.Parallel is safe: each guest has a folder, sockets and records of its own.
package maqettest
