package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// child is a process that the benchmark has started: the gateway, or this program in a role.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// start starts a program in a namespace, or here if that is empty, and reads the line of JSON with
// which it says that it is ready.
func start(ready any, namespace, name string, args ...string) (*child, error) {
	c := &child{cmd: exec.Command(name, args...)}
	c.cmd.Stderr = os.Stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := inNamespace(namespace, c.cmd.Start); err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if err := c.read(ready); err != nil {
		c.stop()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// startRole starts this program in a role, here.
func (b *bench) startRole(ready any, role string, args ...string) (*child, error) {
	return start(ready, "", b.self, append([]string{"role", role}, args...)...)
}

// startFar starts it where servers are. The first argument of the role is its host.
func (b *bench) startFar(ready any, role string, args ...string) (*child, error) {
	ns := ""
	if b.network != nil {
		ns = b.network.Far
	}
	return start(ready, ns, b.self, append([]string{"role", role, b.farHost()}, args...)...)
}

// call sends a line of JSON, and reads one.
func (c *child) call(request, answer any) error {
	b, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if _, err := c.in.Write(append(b, '\n')); err != nil {
		return err
	}
	return c.read(answer)
}

// read reads a line of JSON, which may say that something went wrong.
func (c *child) read(answer any) error {
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return errors.Join(errors.New("it has ended"), err)
	}
	var failed struct{ Error string }
	if json.Unmarshal(line, &failed); failed.Error != "" {
		return errors.New(failed.Error)
	}
	return json.Unmarshal(line, answer)
}

// stop ends the process, and returns when it has ended. stop of nil does nothing.
func (c *child) stop() {
	if c == nil {
		return
	}
	c.cmd.Process.Kill()
	c.in.Close()
	c.cmd.Wait()
}

// cpu returns the processor time that c has used.
func (c *child) cpu() (time.Duration, error) { return cpuOf(c.cmd.Process.Pid) }

// answerCalls is the other side of [child.call]: it answers requests until standard input ends.
// handle returns the answer.
func answerCalls(ready any, handle func(request []byte) (any, error)) error {
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(ready); err != nil {
		return err
	}
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return nil
		}
		answer, err := handle(line)
		if err != nil {
			answer = struct{ Error string }{err.Error()}
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
}
