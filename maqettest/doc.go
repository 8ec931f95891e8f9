// Package maqettest boots QEMU guests in Go tests, and gives each test a copy of one that has
// booted already.
//
//	func TestKernel(t *testing.T) {
//		g := maqettest.Boot(t)
//		res := g.Run("uname", "-s")
//		require.Equal(t, "Linux\n", string(res.Stdout))
//	}
//
// Each guest is cleared away when its test ends, however it ends; that is arranged
// before anything is started. t.Parallel is safe.
//
// # Boot once, fork per test
//
// A [Template] boots at the first [Template.Fork], once for all tests of the program. Each test
// gets a copy that goes on where the template was captured, in a fraction of a boot, and that
// shares what memory it does not change:
//
//	var database = maqettest.NewTemplate(
//		maqettest.Memory(512*vm.MiB),
//		maqettest.Setup(func(ctx context.Context, g *maqet.Machine) error {
//			_, err := g.Exec(ctx, "/usr/bin/start-database")
//			return err
//		}),
//	)
//
//	var withUsers = database.With(addUsers) // a fork in which more has been done
//
//	func TestQuery(t *testing.T) {
//		t.Parallel()
//		g := database.Fork(t)
//		...
//	}
//
//	func TestMain(m *testing.M) { os.Exit(maqettest.Main(m)) }
//
// [Main] can be left out: templates end with the process, whether it exits, panics, runs out
// of time or is killed.
//
// # Working in the guest
//
// What [Guest] adds to maqet.Machine takes no context and returns no error: it ends with the
// test, and what goes wrong fails it at once, with a message that says what, and in which
// guest. As with testing.T.FailNow, that may be called only from the goroutine that runs the
// test, and for a guest of the parent in subtests only by [Guest.For]. The Machine's own methods
// take a context, return errors, and may be called from anywhere; those of the same name are
// g.Machine's:
//
//	g.Run("systemctl", "start", "web")            // fails the test unless it exits with 0
//	p := g.Start("tail", "-f", "/var/log/web")    // runs beside the test
//	g.Eventually(func() error { ... })            // until it returns nil
//	g.WaitFor(guest.PortOpen(80))
//	g.Console().Expect(`login: $`)
//	g.Copy("testdata/site", "/srv")               // and CopyFrom, WriteFile, ReadFile
//	g.Reboot()                                    // returns when the agent answers again
//	_, err := g.Exec(ctx, "false")                // the Machine's: no failure
//
// # Tests inside the guest
//
// [InGuest] runs the rest of a test in a guest, as root in a machine of its own: for code that
// mounts, loads modules, changes the clock or the network. Its result, output and coverage are
// the test's. The command maqet-exec in the folder below runs whole packages so:
//
//	func TestMount(t *testing.T) {
//		maqettest.InGuest(t, maqettest.ForkOf(lab)) // or without, to boot
//		require.NoError(t, unix.Mount("tmpfs", "/mnt", "tmpfs", 0, ""))
//	}
//
//	go test -exec "go run github.com/maqet/maqet/maqettest/maqet-exec" ./...
//
// # Memory
//
// All guests of a test program have half of the memory that is free at the first one, in a
// container of its limit; MAQET_TEST_MEMORY=2G sets it. A guest counts with all of its memory,
// a fork with a quarter, at least 64 MiB, and a template as long as the program runs. Who
// finds no room waits, in the order of coming, and its log says for what. A test that has a
// guest, itself or in a subtest, never waits for the next one, and a guest that is larger
// than everything runs when no other does; so nobody waits for ever.
//
// # When a test fails
//
// The log shows the end of the console and of QEMU's stderr. A folder with the VM's name below
// tb.ArtifactDir (which go test -artifacts keeps) gets:
//
//	console.log    what the console printed
//	qemu.log       what QEMU printed
//	qmp.log        what was said over QMP since Boot or Fork
//	screen.png     what the guest shows, if it has a display
//	config.json    the configuration
//	qemu-args.txt  QEMU's command line, quoted for a shell
//	reproduce.sh   boots a guest like that one, with its console at the terminal
//
// A template that fails reports to each test that wanted a fork of it.
//
// # Where something is missing
//
// Without QEMU, or a kernel, a test is skipped, and says the command that installs it.
// MAQET_REQUIRE=1 makes that a failure.
package maqettest
