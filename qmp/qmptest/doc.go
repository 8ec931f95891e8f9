// Package qmptest has a fake QEMU, and a fake guest agent, for testing programs that
// speak QMP, in the way net/http/httptest has a server for programs that speak HTTP.
//
// [NewServer] listens on a private socket, greets and answers as QEMU 7.2 does, and
// keeps a little state: what stop and cont do shows in query-status and as events.
// [Server.Handle] scripts any other command, [Server.Emit] sends events,
// [Server.Requests] and [Server.Await] tell what the program under test asked for.
//
// What goes wrong is a [Fault]: a reply that is late, cut in half, enormous or never
// comes, garbage, a lost connection, a flood of events. It happens at once
// ([Server.Inject]), whenever a command comes ([Server.OnCommand]) or when a client
// connects ([Server.OnConnect]).
package qmptest
