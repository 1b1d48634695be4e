package main

import (
	"errors"
	"fmt"
	"net"

	"github.com/swarmgate/swarmgate/discovery/dat"
)

// Types of the flags of old peers.
type (
	datNode  string        // HOST:PORT, both there; or datNone
	datPorts dat.PortRange // the zero value is none
)

// datNone as the only node of --dat-bootstrap keeps off the DHT.
const datNone datNode = "none"

func parseDatNode(s string) (datNode, error) {
	if datNode(s) == datNone {
		return datNone, nil
	}
	a, err := parseHostPort(s)
	if err != nil {
		return "", err
	}
	if host, port, _ := net.SplitHostPort(string(a)); host == "" || port == "0" {
		return "", fmt.Errorf("%q: want HOST:PORT", s)
	}
	return datNode(a), nil
}

func parseDatPorts(s string) (datPorts, error) {
	r, err := dat.ParsePortRange(s)
	return datPorts(r), err
}

// checkDat returns every contradiction of the options of old peers.
func (o *options) checkDat() error {
	var errs []error
	for flag, given := range map[string]bool{
		"--dat-bootstrap": len(o.DatBootstrap) > 0, "--dat-dns": len(o.DatDNS) > 0,
		"--dat-listen": o.DatListen != "", "--dat-ports": o.DatPorts != datPorts{},
	} {
		if given && !o.Dat {
			errs = append(errs, fmt.Errorf("%s needs --dat", flag))
		}
	}
	for _, n := range o.DatBootstrap {
		if n == datNone && len(o.DatBootstrap) > 1 {
			errs = append(errs, errors.New("--dat-bootstrap none is alone"))
			break
		}
	}
	for _, n := range o.DatDNS {
		if n == datNone {
			errs = append(errs, errors.New("--dat-dns none: leave the option out"))
			break
		}
	}
	if o.Dat && len(o.datBootstrap()) == 0 && o.datBootstrap() != nil && len(o.DatDNS) == 0 && !o.LAN {
		errs = append(errs, errors.New("--dat finds nobody without the DHT, --dat-dns and --lan"))
	}
	return errors.Join(errs...)
}

// datBootstrap returns the nodes as [dat.Config] has them: nil for the public ones, empty for none.
func (o *options) datBootstrap() []string {
	if len(o.DatBootstrap) == 0 {
		return nil
	}
	nodes := []string{}
	for _, n := range o.DatBootstrap {
		if n != datNone {
			nodes = append(nodes, string(n))
		}
	}
	return nodes
}

// datConfig returns the configuration of the host for old peers.
func (g *gateway) datConfig(o *options) dat.Config {
	cfg := dat.Config{
		Policy: g.policy, Bootstrap: o.datBootstrap(), Multicast: g.wantsLAN(o),
		Listen: string(o.DatListen), Ports: dat.PortRange(o.DatPorts),
		Observer: g.metrics.networkObserver(), Logger: g.log,
	}
	for _, n := range o.DatDNS {
		cfg.DNS = append(cfg.DNS, string(n))
	}
	return cfg
}
