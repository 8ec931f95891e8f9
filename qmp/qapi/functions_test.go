package qapi_test

import (
	"context"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
)

// functions are all functions that execute a command; TestFunctionsAreListed holds the
// list against the source.
var functions = map[string]any{
	"AddClient":                          qapi.AddClient,
	"AddFD":                              qapi.AddFD,
	"AnnounceSelf":                       qapi.AnnounceSelf,
	"Balloon":                            qapi.Balloon,
	"BlockCommit":                        qapi.BlockCommit,
	"BlockDirtyBitmapAdd":                qapi.BlockDirtyBitmapAdd,
	"BlockDirtyBitmapClear":              qapi.BlockDirtyBitmapClear,
	"BlockDirtyBitmapDisable":            qapi.BlockDirtyBitmapDisable,
	"BlockDirtyBitmapEnable":             qapi.BlockDirtyBitmapEnable,
	"BlockDirtyBitmapMerge":              qapi.BlockDirtyBitmapMerge,
	"BlockDirtyBitmapRemove":             qapi.BlockDirtyBitmapRemove,
	"BlockExportAdd":                     qapi.BlockExportAdd,
	"BlockExportDel":                     qapi.BlockExportDel,
	"BlockJobCancel":                     qapi.BlockJobCancel,
	"BlockJobChange":                     qapi.BlockJobChange,
	"BlockJobComplete":                   qapi.BlockJobComplete,
	"BlockJobDismiss":                    qapi.BlockJobDismiss,
	"BlockJobFinalize":                   qapi.BlockJobFinalize,
	"BlockJobPause":                      qapi.BlockJobPause,
	"BlockJobResume":                     qapi.BlockJobResume,
	"BlockJobSetSpeed":                   qapi.BlockJobSetSpeed,
	"BlockLatencyHistogramSet":           qapi.BlockLatencyHistogramSet,
	"BlockResize":                        qapi.BlockResize,
	"BlockSetIOThrottle":                 qapi.BlockSetIOThrottle,
	"BlockSetWriteThreshold":             qapi.BlockSetWriteThreshold,
	"BlockStream":                        qapi.BlockStream,
	"BlockdevAdd":                        qapi.BlockdevAdd,
	"BlockdevBackup":                     qapi.BlockdevBackup,
	"BlockdevChangeMedium":               qapi.BlockdevChangeMedium,
	"BlockdevCloseTray":                  qapi.BlockdevCloseTray,
	"BlockdevCreate":                     qapi.BlockdevCreate,
	"BlockdevDel":                        qapi.BlockdevDel,
	"BlockdevInsertMedium":               qapi.BlockdevInsertMedium,
	"BlockdevMirror":                     qapi.BlockdevMirror,
	"BlockdevOpenTray":                   qapi.BlockdevOpenTray,
	"BlockdevRemoveMedium":               qapi.BlockdevRemoveMedium,
	"BlockdevReopen":                     qapi.BlockdevReopen,
	"BlockdevSetActive":                  qapi.BlockdevSetActive,
	"BlockdevSnapshot":                   qapi.BlockdevSnapshot,
	"BlockdevSnapshotDeleteInternalSync": qapi.BlockdevSnapshotDeleteInternalSync,
	"BlockdevSnapshotInternalSync":       qapi.BlockdevSnapshotInternalSync,
	"BlockdevSnapshotSync":               qapi.BlockdevSnapshotSync,
	"CalcDirtyRate":                      qapi.CalcDirtyRate,
	"ChangeBackingFile":                  qapi.ChangeBackingFile,
	"ChangeVNCPassword":                  qapi.ChangeVNCPassword,
	"ChardevAdd":                         qapi.ChardevAdd,
	"ChardevChange":                      qapi.ChardevChange,
	"ChardevRemove":                      qapi.ChardevRemove,
	"ChardevSendBreak":                   qapi.ChardevSendBreak,
	"CloseFD":                            qapi.CloseFD,
	"Cont":                               qapi.Cont,
	"DeviceAdd":                          qapi.DeviceAdd,
	"DeviceDel":                          qapi.DeviceDel,
	"DeviceListProperties":               qapi.DeviceListProperties,
	"DisplayReload":                      qapi.DisplayReload,
	"DisplayUpdate":                      qapi.DisplayUpdate,
	"DumpGuestMemory":                    qapi.DumpGuestMemory,
	"Eject":                              qapi.Eject,
	"ExpirePassword":                     qapi.ExpirePassword,
	"GetFD":                              qapi.GetFD,
	"InjectNMI":                          qapi.InjectNMI,
	"InputSendEvent":                     qapi.InputSendEvent,
	"JobCancel":                          qapi.JobCancel,
	"JobComplete":                        qapi.JobComplete,
	"JobDismiss":                         qapi.JobDismiss,
	"JobFinalize":                        qapi.JobFinalize,
	"JobPause":                           qapi.JobPause,
	"JobResume":                          qapi.JobResume,
	"Migrate":                            qapi.Migrate,
	"MigrateCancel":                      qapi.MigrateCancel,
	"MigrateContinue":                    qapi.MigrateContinue,
	"MigrateIncoming":                    qapi.MigrateIncoming,
	"MigratePause":                       qapi.MigratePause,
	"MigrateRecover":                     qapi.MigrateRecover,
	"MigrateSetCapabilities":             qapi.MigrateSetCapabilities,
	"MigrateSetParameters":               qapi.MigrateSetParameters,
	"MigrateStartPostcopy":               qapi.MigrateStartPostcopy,
	"NBDServerAdd":                       qapi.NBDServerAdd,
	"NBDServerRemove":                    qapi.NBDServerRemove,
	"NBDServerStart":                     qapi.NBDServerStart,
	"NBDServerStop":                      qapi.NBDServerStop,
	"NetdevAdd":                          qapi.NetdevAdd,
	"NetdevDel":                          qapi.NetdevDel,
	"ObjectAdd":                          qapi.ObjectAdd,
	"ObjectDel":                          qapi.ObjectDel,
	"QOMGet":                             qapi.QOMGet[any],
	"QOMList":                            qapi.QOMList,
	"QOMListProperties":                  qapi.QOMListProperties,
	"QOMListTypes":                       qapi.QOMListTypes,
	"QOMSet":                             qapi.QOMSet,
	"QueryACPIOSPMStatus":                qapi.QueryACPIOSPMStatus,
	"QueryBalloon":                       qapi.QueryBalloon,
	"QueryBlock":                         qapi.QueryBlock,
	"QueryBlockExports":                  qapi.QueryBlockExports,
	"QueryBlockJobs":                     qapi.QueryBlockJobs,
	"QueryBlockStats":                    qapi.QueryBlockStats,
	"QueryCPUDefinitions":                qapi.QueryCPUDefinitions,
	"QueryCPUModelExpansion":             qapi.QueryCPUModelExpansion,
	"QueryCPUsFast":                      qapi.QueryCPUsFast,
	"QueryChardev":                       qapi.QueryChardev,
	"QueryChardevBackends":               qapi.QueryChardevBackends,
	"QueryCommandLineOptions":            qapi.QueryCommandLineOptions,
	"QueryCommands":                      qapi.QueryCommands,
	"QueryCurrentMachine":                qapi.QueryCurrentMachine,
	"QueryDirtyRate":                     qapi.QueryDirtyRate,
	"QueryDump":                          qapi.QueryDump,
	"QueryDumpGuestMemoryCapability":     qapi.QueryDumpGuestMemoryCapability,
	"QueryFdsets":                        qapi.QueryFdsets,
	"QueryHotpluggableCPUs":              qapi.QueryHotpluggableCPUs,
	"QueryIOThreads":                     qapi.QueryIOThreads,
	"QueryJobs":                          qapi.QueryJobs,
	"QueryKVM":                           qapi.QueryKVM,
	"QueryMachines":                      qapi.QueryMachines,
	"QueryMemdev":                        qapi.QueryMemdev,
	"QueryMemoryDevices":                 qapi.QueryMemoryDevices,
	"QueryMemorySizeSummary":             qapi.QueryMemorySizeSummary,
	"QueryMice":                          qapi.QueryMice,
	"QueryMigrate":                       qapi.QueryMigrate,
	"QueryMigrateCapabilities":           qapi.QueryMigrateCapabilities,
	"QueryMigrateParameters":             qapi.QueryMigrateParameters,
	"QueryMigrationThreads":              qapi.QueryMigrationThreads,
	"QueryName":                          qapi.QueryName,
	"QueryNamedBlockNodes":               qapi.QueryNamedBlockNodes,
	"QueryPCI":                           qapi.QueryPCI,
	"QueryQMPSchema":                     qapi.QueryQMPSchema,
	"QueryRXFilter":                      qapi.QueryRXFilter,
	"QuerySpice":                         qapi.QuerySpice,
	"QueryStats":                         qapi.QueryStats,
	"QueryStatsSchemas":                  qapi.QueryStatsSchemas,
	"QueryStatus":                        qapi.QueryStatus,
	"QueryTarget":                        qapi.QueryTarget,
	"QueryUUID":                          qapi.QueryUUID,
	"QueryVMGenerationID":                qapi.QueryVMGenerationID,
	"QueryVNC":                           qapi.QueryVNC,
	"QueryVNCServers":                    qapi.QueryVNCServers,
	"QueryVersion":                       qapi.QueryVersion,
	"QueryYank":                          qapi.QueryYank,
	"Quit":                               qapi.Quit,
	"RTCResetReinjection":                qapi.RTCResetReinjection,
	"RemoveFD":                           qapi.RemoveFD,
	"RingbufRead":                        qapi.RingbufRead,
	"RingbufWrite":                       qapi.RingbufWrite,
	"Screendump":                         qapi.Screendump,
	"SendKey":                            qapi.SendKey,
	"SetAction":                          qapi.SetAction,
	"SetLink":                            qapi.SetLink,
	"SetPassword":                        qapi.SetPassword,
	"SnapshotDelete":                     qapi.SnapshotDelete,
	"SnapshotLoad":                       qapi.SnapshotLoad,
	"SnapshotSave":                       qapi.SnapshotSave,
	"Stop":                               qapi.Stop,
	"SystemPowerdown":                    qapi.SystemPowerdown,
	"SystemReset":                        qapi.SystemReset,
	"SystemWakeup":                       qapi.SystemWakeup,
	"Transaction":                        qapi.Transaction,
	"WatchdogSetAction":                  qapi.WatchdogSetAction,
	"Yank":                               qapi.Yank,
	"XDebugQueryBlockGraph":              qapi.XDebugQueryBlockGraph,
}

// recorder is an executor that keeps what it is asked to do.
type recorder struct {
	qmp.Conn
	command string
	args    any
}

func (r *recorder) Execute(_ context.Context, command string, args any) (json.RawMessage, error) {
	r.command, r.args = command, args
	return json.RawMessage("null"), nil
}

func (r *recorder) ExecuteWithFiles(ctx context.Context, command string, args any, _ ...*os.File) (json.RawMessage, error) {
	return r.Execute(ctx, command, args)
}

// call calls a function with zero values and returns what it executes, and the types of
// its arguments and its result, which are nil where there are none.
func call(t *testing.T, name string) (command string, args, result reflect.Type) {
	t.Helper()
	fn := reflect.ValueOf(functions[name])
	r := &recorder{}
	in := []reflect.Value{reflect.ValueOf(t.Context()), reflect.ValueOf(r)}
	for i := len(in); i < fn.Type().NumIn(); i++ {
		in = append(in, reflect.Zero(fn.Type().In(i)))
	}
	var out []reflect.Value
	if fn.Type().IsVariadic() {
		out = fn.CallSlice(in)
	} else {
		out = fn.Call(in)
	}
	require.Nil(t, out[len(out)-1].Interface(), name)
	if len(out) == 2 {
		result = fn.Type().Out(0)
	}
	if r.args != nil {
		args = reflect.TypeOf(r.args)
	}
	return r.command, args, result
}

// source parses the package.
func source(t *testing.T) (files []*ast.File) {
	t.Helper()
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), entry.Name(), nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		files = append(files, file)
	}
	return files
}

func TestFunctionsAreListed(t *testing.T) {
	for _, file := range source(t) {
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Recv != nil || !fn.Name.IsExported() || fn.Type.Params.NumFields() < 2 {
				continue
			}
			second, ok := fn.Type.Params.List[1].Type.(*ast.SelectorExpr)
			if ok && (second.Sel.Name == "Executor" || second.Sel.Name == "FileConn") {
				require.Contains(t, functions, fn.Name.Name)
			}
		}
	}
}

// constants returns the values of the typed string constants by type, and of the others
// under "".
func constants(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, file := range source(t) {
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			typ, _ := spec.Type.(*ast.Ident)
			for _, v := range spec.Values {
				if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					value, err := strconv.Unquote(lit.Value)
					require.NoError(t, err)
					name := ""
					if typ != nil {
						name = typ.Name
					}
					all[name] = append(all[name], value)
				}
			}
			return true
		})
	}
	return all
}
