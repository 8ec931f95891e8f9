package qapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
)

// Each type is held against the schema of the known versions, and of the QEMU that is
// there.
func TestTypesFitTheSchema(t *testing.T) {
	for _, version := range known {
		t.Run(version, func(t *testing.T) { checkTypes(t, loadSchema(t, version), version, false) })
	}
	t.Run("QEMU", func(t *testing.T) {
		c := startQEMU(t, "-M", "none")
		infos, err := qapi.QueryQMPSchema(within(t, 30*time.Second), c)
		require.NoError(t, err)
		v := c.Greeting().Version
		version := fmt.Sprintf("%d.%d", v.Major, v.Minor)
		if !slices.Contains(known, version) {
			t.Skipf("no facts about QEMU %s: see TestTestdata", version)
		}
		checkTypes(t, newSchema(infos), version, true)
	})
}

// A slip in a name must not hide behind the tables: each entry explains something.
func TestTablesOfVersions(t *testing.T) {
	used := map[string]bool{}
	for _, version := range known {
		maps.Copy(used, checkTypes(t, loadSchema(t, version), version, false).used)
	}
	for _, table := range []map[string]string{since, until} {
		for _, name := range slices.Sorted(maps.Keys(table)) {
			require.True(t, used[name], "nothing needs the entry %s", name)
		}
	}
}

// checkTypes checks all commands and events. build says that the schema may lack what
// whoever built that QEMU has left out.
func checkTypes(t *testing.T, s schema, version string, build bool) *checker {
	t.Helper()
	c := &checker{
		schema: s, version: version, build: build, constants: constants(t),
		seen: map[string]bool{}, used: map[string]bool{},
	}
	c.commands(t)
	c.events(t)
	slices.Sort(c.problems)
	require.Empty(t, strings.Join(slices.Compact(c.problems), "\n"))
	return c
}

func (c *checker) commands(t *testing.T) {
	typed := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(functions)) {
		command, args, result := call(t, name)
		typed[command] = true
		info, ok := c.schema[command]
		if !ok || info.MetaType != qapi.SchemaMetaTypeCommand {
			if !c.excused(since, "command "+command) && !c.build {
				c.problem(name, "QEMU %s has no command %s", c.version, command)
			}
			continue
		}
		if args != nil {
			c.check(command, args, info.ArgType, true)
		} else if members := c.members(info.ArgType); len(members) > 0 && !leftOut[command] {
			c.problem(command, "takes no arguments, but could: %v", slices.Collect(maps.Keys(members)))
		}
		if result != nil {
			c.check(command+" answer", result, info.RetType, false)
		} else if returns := c.schema[info.RetType]; returns.MetaType != qapi.SchemaMetaTypeObject || len(c.members(info.RetType)) > 0 {
			c.problem(command, "drops its answer, a %s", returns.MetaType)
		}
	}
	for _, command := range c.schema.names(qapi.SchemaMetaTypeCommand) {
		if !typed[command] && !untyped(command) {
			c.problem(command, "has no function")
		}
	}
}

func (c *checker) events(t *testing.T) {
	names := constants(t)[""]
	for _, event := range c.schema.names(qapi.SchemaMetaTypeEvent) {
		if event == "RDMA_GID_STATUS_CHANGED" {
			continue
		}
		if !slices.Contains(names, event) {
			c.problem(event, "has no constant")
		}
		data, err := qapi.Decode(qmp.Event{Name: event, Data: json.RawMessage("{}")})
		require.NoError(t, err)
		typed, ok := data.(qapi.EventData)
		if !ok {
			c.problem(event, "has no type")
			continue
		}
		require.Equal(t, event, typed.EventName())
		c.check(event, reflect.TypeOf(data), c.schema[event].ArgType, false)
	}
	for _, name := range names {
		if name == strings.ToUpper(name) && c.schema[name].MetaType != qapi.SchemaMetaTypeEvent && !otherTargets[name] && !c.build &&
			!c.excused(since, "event "+name) && !c.excused(until, "event "+name) {
			c.problem(name, "QEMU %s has no such event", c.version)
		}
	}
}
