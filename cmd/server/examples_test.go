package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// configuration writes a file and returns the arguments with which the program reads it.
func configuration(t *testing.T, text string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "swarmgate.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--config", file}
}

// example returns a file of deploy/.
func example(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What the Debian package brings is for this machine only, until the operator says more; what it
// proposes to say is taken too.
func TestPackagedConfiguration(t *testing.T) {
	text := example(t, "systemd/swarmgate.yaml")
	o := parsed(t, configuration(t, text)...)
	if o.Listen != "127.0.0.1:4433" || o.Admin != "127.0.0.1:9090" || o.DHT.String() != "off" || o.StateDir != "/var/lib/swarmgate" {
		t.Errorf("the package listens on %s and %s, is on the DHT %v, and keeps its state in %s", o.Listen, o.Admin, o.DHT, o.StateDir)
	}
	var proposed strings.Builder
	for _, m := range regexp.MustCompile(`(?m)^#   (\w.*)$`).FindAllStringSubmatch(text, -1) {
		proposed.WriteString(m[1] + "\n")
	}
	o = parsed(t, configuration(t, proposed.String())...)
	if o.Listen != ":443" || len(o.Name) != 1 || o.Cert == "" || o.TokenFile == "" || len(o.P2PListen) != 2 {
		t.Errorf("the proposal is read as %+v", o)
	}
	unit := example(t, "systemd/swarmgate.service")
	m := regexp.MustCompile(`(?m)^TimeoutStopSec=(\d+)$`).FindStringSubmatch(unit)
	if m == nil {
		t.Fatal("the unit has no TimeoutStopSec")
	}
	if grace, _ := time.ParseDuration(m[1] + "s"); grace < time.Duration(o.Drain)+15*time.Second {
		t.Errorf("the unit gives %v to end, want the drain of %v and 15s", grace, time.Duration(o.Drain))
	}
}

// The compose file of one gateway is what the program and its image understand.
func TestComposeOfOneGateway(t *testing.T) {
	text := regexp.MustCompile(`\$\{\w+:-(\w*)\}`).ReplaceAllString(example(t, "compose.yaml"), "$1")
	var c struct {
		Services map[string]struct {
			Image       string
			StopGrace   string   `yaml:"stop_grace_period"`
			ReadOnly    bool     `yaml:"read_only"`
			CapDrop     []string `yaml:"cap_drop"`
			Ports       []string
			Environment map[string]string
			Volumes     []string
		}
		Volumes map[string]any
	}
	if err := yaml.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	s := c.Services["gateway"]
	for name, value := range s.Environment {
		t.Setenv(name, value)
	}
	t.Setenv("SWARMGATE_STATE_DIR", imageState)
	o := parsed(t)
	if grace, err := time.ParseDuration(s.StopGrace); err != nil || grace < time.Duration(o.Drain)+15*time.Second {
		t.Errorf("it has %s to end", s.StopGrace)
	}
	if _, ok := c.Volumes["state"]; !ok || !slices.Equal(s.Volumes, []string{"state:" + imageState}) {
		t.Errorf("its state is in %q", s.Volumes)
	}
	if o.Listen != ":4433" || o.Admin != ":9090" || len(o.Name) != 1 || len(o.AllowOrigin) != 0 || o.TokenFile != "" || s.Image != "swarmgate:latest" || !s.ReadOnly {
		t.Errorf("it is %+v, of %s", o, s.Image)
	}
	if want := []string{"4433:4433/udp", "4433:4433/tcp", "4434:4434/tcp", "127.0.0.1:9090:9090/tcp"}; !slices.Equal(s.Ports, want) {
		t.Errorf("its ports are %q, want %q", s.Ports, want)
	}
	containerfile, err := os.ReadFile("../../packaging/image/Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"FROM scratch\n", "\nVOLUME " + imageState + "\n", "SWARMGATE_STATE_DIR=" + imageState + "\n", "\nUSER 65532:65532\n"} {
		if !strings.Contains(string(containerfile), want) {
			t.Errorf("the image does not say %q", strings.TrimSpace(want))
		}
	}
}

// The parts of the Kubernetes manifest agree with each other and with the program. make packages
// has Kubernetes' own types read it.
func TestKubernetesManifest(t *testing.T) {
	type port struct {
		Name, Protocol, TargetPort string
		Port, ContainerPort        int
	}
	type object struct {
		Kind string
		Data map[string]string
		Spec struct {
			Type     string
			Ports    []port
			Template struct {
				Spec struct {
					Grace      int `yaml:"terminationGracePeriodSeconds"`
					Containers []struct {
						Args         []string
						Ports        []port
						VolumeMounts []struct {
							MountPath string `yaml:"mountPath"`
						} `yaml:"volumeMounts"`
					}
				}
			}
		}
	}
	objects := make(map[string]object)
	for d := yaml.NewDecoder(bytes.NewReader([]byte(strings.NewReplacer("targetPort", "targetport", "containerPort", "containerport").Replace(example(t, "kubernetes.yaml"))))); ; {
		var o object
		if err := d.Decode(&o); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		objects[o.Kind] = o
	}
	o := parsed(t, configuration(t, objects["ConfigMap"].Data["swarmgate.yaml"])...)
	pod := objects["StatefulSet"].Spec.Template.Spec
	if len(pod.Containers) != 1 || time.Duration(pod.Grace)*time.Second < time.Duration(o.Drain)+15*time.Second {
		t.Fatalf("the pod is %+v", pod)
	}
	c := pod.Containers[0]
	var mounts []string
	for _, m := range c.VolumeMounts {
		mounts = append(mounts, m.MountPath)
	}
	if want := []string{c.Args[1], filepath.Dir(o.Cert), o.StateDir}; !slices.Equal(mounts, want) || filepath.Dir(o.Key) != filepath.Dir(o.Cert) || c.Args[0] != "--config" {
		t.Errorf("%q are mounted, want %q", mounts, want)
	}
	if o.Listen != ":4433" || o.Admin != ":9090" {
		t.Errorf("the gateway listens on %s and %s", o.Listen, o.Admin)
	}
	ports := make(map[string]port)
	for _, p := range c.Ports {
		ports[p.Name] = p
	}
	service := objects["Service"].Spec
	for i, protocol := range []string{"UDP", "TCP"} { // the same port by both, since clients are told one
		p := service.Ports[i]
		if p.Protocol != protocol || p.Port != 4433 || ports[p.TargetPort].ContainerPort != 4433 || ports[p.TargetPort].Protocol != protocol {
			t.Errorf("the service has %+v for %+v", p, ports[p.TargetPort])
		}
	}
	if p := ports["admin"]; p.ContainerPort != 9090 || len(service.Ports) != 2 {
		t.Errorf("the operators' listener is %+v; the service has %d ports", p, len(service.Ports))
	}
}
