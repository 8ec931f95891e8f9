// Command maqet-exec runs the tests of whole packages in QEMU guests, as the program for
// "go test -exec":
//
//	go test -exec "go run github.com/maqet/maqet/maqettest/maqet-exec" ./...
//
// As a tool of your module it is faster, and passes signals on and exit codes back, which
// "go run" does not:
//
//	go get -tool github.com/maqet/maqet/maqettest/maqet-exec
//	go test -exec "go tool maqet-exec -memory 1G" ./...
//
// It is called with flags of its own, a program, and the program's arguments:
//
//	maqet-exec [-memory SIZE] [-cpus N] [-kernel FILE] [-machine TYPE] [-env NAME[=VALUE]]...
//	           [-copy PATH]... [-boot] [-dir DIR] [-v] PROGRAM [ARGUMENT...]
//
// Flags in the environment variable MAQET_EXEC_FLAGS, separated by spaces, come before those.
// MAQET_QEMU, MAQET_KERNEL and others of maqet's count as well.
//
// # What the tests see
//
// Each program, which is one package, has a guest of its own, in which it is root. Its working
// directory has the same path as on the host, with the files of the package's folder and its
// testdata; a file of more than 64 MiB is left out, and maqet-exec says so. -copy adds files
// and folders, such as ../testdata. Other folders of the host are not there, and what tests
// write stays in the guest.
//
// Standard input is empty. Of the environment only what the Go runtime looks at is passed on
// (GODEBUG, GOTRACEBACK and the like, LANG, TZ, CI), and what -env names; HOME, PATH and TMPDIR
// are the guest's. MAQET_IN_GUEST is 1. Programs with cgo, or built with -race, bring their
// libraries. A program for another architecture runs in an emulated guest of that, if its QEMU
// and kernel are there (scripts/setup.sh --arch):
//
//	GOARCH=arm64 go test -exec "go tool maqet-exec" ./...
//
// # What go test sees
//
// Output comes as it is printed, standard output and standard error apart. The exit status
// is the program's; one that is ended by a signal has 128 and the signal's number, as in a
// shell. 125 means that maqet-exec itself failed. Interrupt, quit and termination
// signals are passed on: at its time-out "go test" sends SIGQUIT, and the program shows what
// its goroutines do. Files and folders that flags of package testing name as output, such as
// -coverprofile, -cpuprofile and -artifacts, come to the host, also when a test fails. When the
// process that called maqet-exec ends, maqet-exec does.
//
// # How it is fast
//
// The first call boots a guest and captures it as a template, in DIR, which is maqet/exec in the
// user's cache folder by default; each program then runs in a fork of that, which takes a
// fraction of a boot. There is a template for each choice of flags; it is made again when QEMU,
// the kernel or maqet has changed. -boot boots a guest afresh. Deleting DIR is safe while no
// tests run.
package main
