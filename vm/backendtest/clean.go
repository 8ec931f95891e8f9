package backendtest

import (
	"os"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
)

// ended launches a guest and ends it.
func (p *place) ended(cfg vm.Config) *launched {
	p.Helper()
	g := p.halted(cfg)
	require.NoError(p, last(g).Run(p.patient()))
	p.gone(g)
	require.NoError(p, g.Release())
	return g
}

func testCleanTwice(p *place) {
	inst := p.ended(vm.Config{}).inst(p)
	for range 2 {
		require.NoError(p, p.b.Clean(p.patient(), inst))
	}
	for range 2 {
		require.NoError(p, p.b.Erase(p.patient(), inst))
	}
	require.NoError(p, p.b.Clean(p.patient(), inst))
	inst.Runtime = vm.Runtime{}
	require.NoError(p, p.open().Erase(p.patient(), inst))
}

func testCleanNeverStarted(p *place) {
	inst := vm.Instance{ID: uuid.NewString(), Name: "bt-never", Config: p.config(vm.Config{Name: "bt-never"})}
	require.NoError(p, p.b.Clean(p.patient(), inst))
	require.NoError(p, p.b.Erase(p.patient(), inst))
}

func testEraseIsAll(p *place) {
	before := p.left()
	inst := p.ended(vm.Config{}).inst(p)
	require.NoError(p, p.b.Erase(p.patient(), inst))
	require.ElementsMatch(p, before, p.left())
	require.NoFileExists(p, inst.Runtime.Console)
}

// testCleanKeepsLogs: how a guest ended can be read until it is erased, also by another process.
func testCleanKeepsLogs(p *place) {
	g, console := p.pc(vm.Config{})
	inst := g.inst(p)
	p.say(console, "last words")
	p.consoleBecomes(g, pcBanner+"last words")
	require.NoError(p, last(g).Run(p.patient()))
	p.gone(g)
	require.NoError(p, g.Release())
	require.NoError(p, p.b.Clean(p.patient(), inst))
	text, err := os.ReadFile(inst.Runtime.Console)
	require.NoError(p, err)
	require.Contains(p, string(text), "last words")
	require.NoError(p, p.open().Erase(p.patient(), inst))
	require.NoFileExists(p, inst.Runtime.Console)
}

func testCleanSparesOthers(p *place) {
	neighbour := p.halted(vm.Config{})
	before := p.left()
	inst := p.ended(vm.Config{}).inst(p)
	require.NoError(p, p.b.Clean(p.patient(), inst))
	require.NoError(p, p.b.Erase(p.patient(), inst))
	require.ElementsMatch(p, before, p.left())
	p.lives(neighbour)
	p.lives(p.attach(p.open(), neighbour))
}
