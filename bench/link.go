package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// link is a stretch of network between two namespaces, one for clients and one for servers: so many
// bits a second each way, each packet so much later, and some of them lost. A packet that does not
// fit into the queue is dropped, as a router does.
type link struct {
	MbitPerSecond float64
	RTT           time.Duration // of an empty link, and of a full queue
	Loss          float64       // part of the packets of each direction, 0 to 1
	TCP           string        // the congestion control of TCP at both ends
}

func (l link) String() string {
	return fmt.Sprintf("%v, %g Mbit/s, %g %% loss", l.RTT, l.MbitPerSecond, 100*l.Loss)
}

// network is a link that runs.
type network struct {
	*child
	Near, Far string // files of the namespaces of clients and of servers
}

// The hosts at the two ends. The namespaces have nothing else, so the addresses meet no others.
const (
	nearHost = "10.77.0.1"
	farHost  = "10.77.0.2"
	loopback = "127.0.0.1"
)

// noLink returns why links cannot be made, or "".
func noLink() string {
	if os.Geteuid() != 0 {
		return "namespaces need root"
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return err.Error()
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return err.Error()
	}
	return ""
}

// connectBy starts a link. Contenders that are made from then on are on it, until the returned
// function is called, which does not end it.
func (b *bench) connectBy(l link) (back func(), err error) {
	text, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	n := new(network)
	if n.child, err = b.startRole(n, "link", string(text)); err != nil {
		return nil, err
	}
	b.networks, b.network = append(b.networks, n), n
	return func() { b.network = nil }, nil
}

// nearHost and farHost return the addresses of clients and servers.
func (b *bench) nearHost() string {
	if b.network != nil {
		return nearHost
	}
	return loopback
}

func (b *bench) farHost() string {
	if b.network != nil {
		return farHost
	}
	return loopback
}

// serveLink is the role of a link. It ends with its namespaces.
func serveLink(description string) error {
	var l link
	if err := json.Unmarshal([]byte(description), &l); err != nil {
		return err
	}
	near, nearNS, err := l.end(nearHost)
	if err != nil {
		return err
	}
	far, farNS, err := l.end(farHost)
	if err != nil {
		return err
	}
	go l.carry(near, far)
	go l.carry(far, near)
	return answerCalls(network{Near: nearNS, Far: farNS}, nil)
}

// end makes a namespace with one end of the link, at an address. It returns the device, and the
// namespace's file.
func (l link) end(addr string) (tun *os.File, ns string, err error) {
	made := make(chan struct{})
	go func() {
		runtime.LockOSThread() // for ever: the thread keeps the namespace
		tun, err = l.openEnd(addr)
		ns = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		close(made)
		select {}
	}()
	<-made
	return tun, ns, err
}

// openEnd moves this thread to a new namespace with a device and a loopback interface.
func (l link) openEnd(addr string) (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("a new namespace: %w", err)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(socket)
	set := func(fd int, name string, request uint, fill func(*unix.Ifreq)) {
		if err != nil {
			return
		}
		var r *unix.Ifreq
		if r, err = unix.NewIfreq(name); err != nil {
			return
		}
		fill(r)
		if e := unix.IoctlIfreq(fd, request, r); e != nil {
			err = fmt.Errorf("%s: %w", name, e)
		}
	}
	up := func(r *unix.Ifreq) { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING) }
	inet := func(addr string) func(*unix.Ifreq) {
		return func(r *unix.Ifreq) {
			var b [4]byte
			fmt.Sscanf(addr, "%d.%d.%d.%d", &b[0], &b[1], &b[2], &b[3])
			err = r.SetInet4Addr(b[:])
		}
	}
	set(fd, "tun0", unix.TUNSETIFF, func(r *unix.Ifreq) { r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI) })
	set(socket, "tun0", unix.SIOCSIFADDR, inet(addr))
	set(socket, "tun0", unix.SIOCSIFNETMASK, inet("255.255.255.0"))
	set(socket, "tun0", unix.SIOCSIFFLAGS, up)
	set(socket, "lo", unix.SIOCSIFFLAGS, up)
	if err != nil {
		return nil, err
	}
	// A namespace may not set its default to what the machine does not allow to all.
	route := exec.Command("ip", "route", "replace", "10.77.0.0/24", "dev", "tun0", "src", addr, "congctl", "lock", l.TCP)
	if out, err := route.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%v: %w\n%s", route, err, out)
	}
	return os.NewFile(uintptr(fd), "tun0"), nil
}

// inNamespace runs f in the namespace of a file, or here if that is empty. Processes that f starts
// are there; they are bound to this thread, which goes on.
func inNamespace(file string, f func() error) error {
	if file == "" {
		return f()
	}
	there, err := os.Open(file)
	if err != nil {
		return err
	}
	defer there.Close()
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err == nil {
		defer home.Close()
		err = unix.Setns(int(there.Fd()), unix.CLONE_NEWNET)
	}
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("%s: %w", file, err)
	}
	err = f()
	if e := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); e != nil {
		return fmt.Errorf("back from %s: %w", file, e) // the thread stays locked
	}
	runtime.UnlockOSThread()
	return err
}

// packet is an IP packet on its way.
type packet struct {
	data []byte
	at   time.Time // when it arrives
}

// carry carries one direction for ever.
func (l link) carry(from, to *os.File) {
	way := make(chan packet, 1<<14) // more than the queue holds
	go func() {
		for p := range way {
			time.Sleep(time.Until(p.at))
			to.Write(p.data)
		}
	}()
	buf := make([]byte, 1<<16)
	var free time.Time // when the last packet of the queue has left
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		at, ok := l.next(&free, time.Now(), n)
		if ok && rand.Float64() >= l.Loss {
			way <- packet{append([]byte(nil), buf[:n]...), at}
		}
	}
}

// next returns when a packet of n bytes that comes now arrives at the other end, and whether the
// queue has room for it. It is pure.
func (l link) next(free *time.Time, now time.Time, n int) (at time.Time, ok bool) {
	if free.Before(now) {
		*free = now
	}
	if free.Sub(now) > l.RTT {
		return time.Time{}, false
	}
	*free = free.Add(time.Duration(float64(n*8) / l.MbitPerSecond * float64(time.Microsecond)))
	return free.Add(l.RTT / 2), true
}
