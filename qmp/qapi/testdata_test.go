package qapi_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/qmp/qapi"
)

var update = flag.Bool("update", false, "write testdata for the version of the QEMU that is there (MAQET_TEST_QEMU)")

// known are the versions whose schema is in testdata.
var known = []string{"7.2", "10.0"}

// schema is the answer to query-qmp-schema by name.
type schema map[string]qapi.SchemaInfo

func newSchema(infos []qapi.SchemaInfo) schema {
	s := schema{}
	for _, info := range infos {
		s[info.Name] = info
	}
	return s
}

func loadSchema(t testing.TB, version string) schema {
	t.Helper()
	packed, err := os.ReadFile("testdata/schema-" + version + ".json.gz")
	require.NoError(t, err)
	r, err := gzip.NewReader(bytes.NewReader(packed))
	require.NoError(t, err)
	text, err := io.ReadAll(r)
	require.NoError(t, err)
	var infos []qapi.SchemaInfo
	require.NoError(t, json.Unmarshal(text, &infos))
	return newSchema(infos)
}

// names returns the sorted names of all commands or events.
func (s schema) names(kind qapi.SchemaMetaType) (names []string) {
	for name, info := range s {
		if info.MetaType == kind {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// TestTestdata holds the files in testdata against the QEMU that is there, or writes
// them with -update:
//
//	MAQET_TEST_QEMU=/path/to/qemu-system-x86_64 go test ./qmp/qapi -run TestTestdata -update
func TestTestdata(t *testing.T) {
	c := startQEMU(t, "-M", "none")
	v := c.Greeting().Version
	version := fmt.Sprintf("%d.%d", v.Major, v.Minor)
	infos, err := qapi.QueryQMPSchema(within(t, 30*time.Second), c)
	require.NoError(t, err)
	s := newSchema(infos)
	lists := map[string]string{
		"commands": strings.Join(s.names(qapi.SchemaMetaTypeCommand), "\n") + "\n",
		"events":   strings.Join(s.names(qapi.SchemaMetaTypeEvent), "\n") + "\n",
	}
	if *update {
		for kind, list := range lists {
			require.NoError(t, os.WriteFile("testdata/"+kind+"-"+version+".txt", []byte(list), 0o644))
		}
		var packed bytes.Buffer
		w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		require.NoError(t, err)
		require.NoError(t, json.NewEncoder(w).Encode(infos))
		require.NoError(t, w.Close())
		require.NoError(t, os.WriteFile("testdata/schema-"+version+".json.gz", packed.Bytes(), 0o644))
		return
	}
	if !slices.Contains(known, version) {
		t.Skip("no testdata for QEMU " + version)
	}
	stored := loadSchema(t, version)
	for kind, list := range lists {
		text, err := os.ReadFile("testdata/" + kind + "-" + version + ".txt")
		require.NoError(t, err)
		require.Subset(t, strings.Fields(string(text)), strings.Fields(list), "a build can lack some, but have none besides")
	}
	require.Subset(t, stored.names(qapi.SchemaMetaTypeCommand), s.names(qapi.SchemaMetaTypeCommand))
}

// older says whether version a comes before b; both are like 7.2.
func older(a, b string) bool {
	number := func(version string) int {
		major, minor, _ := strings.Cut(version, ".")
		x, _ := strconv.Atoi(major)
		y, _ := strconv.Atoi(minor)
		return 100*x + y
	}
	return number(a) < number(b)
}
