//! Socket addresses in the kernel's form.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};

use super::fd::check;

/// Room for any address, and how much of it is used.
pub(crate) struct RawAddress {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

/// The size of a type as the kernel wants it.
pub(super) fn len_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("these types are small")
}

fn family(family: libc::c_int) -> libc::sa_family_t {
    libc::sa_family_t::try_from(family).expect("families are small numbers")
}

impl RawAddress {
    /// Room to be filled by the kernel.
    pub(crate) fn empty() -> Self {
        // SAFETY: zeros are a valid sockaddr_storage, which is plain bytes.
        Self { storage: unsafe { std::mem::zeroed() }, len: len_of::<libc::sockaddr_storage>() }
    }

    pub(crate) fn new(address: SocketAddr) -> Self {
        let mut raw = Self::empty();
        let storage: *mut libc::sockaddr_storage = &raw mut raw.storage;
        match address {
            SocketAddr::V4(v4) => {
                let name = libc::sockaddr_in {
                    sin_family: family(libc::AF_INET),
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                // SAFETY: sockaddr_storage is large enough and aligned for every address.
                unsafe { storage.cast::<libc::sockaddr_in>().write(name) };
                raw.len = len_of::<libc::sockaddr_in>();
            }
            SocketAddr::V6(v6) => {
                let name = libc::sockaddr_in6 {
                    sin6_family: family(libc::AF_INET6),
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { storage.cast::<libc::sockaddr_in6>().write(name) };
                raw.len = len_of::<libc::sockaddr_in6>();
            }
        }
        raw
    }

    /// Pointers for a call that fills the address.
    pub(crate) fn room(&mut self) -> (*mut libc::sockaddr, *mut libc::socklen_t) {
        self.len = len_of::<libc::sockaddr_storage>();
        ((&raw mut self.storage).cast(), &raw mut self.len)
    }

    /// Pointer and length for a call that reads the address.
    pub(crate) fn filled(&self) -> (*const libc::sockaddr, libc::socklen_t) {
        ((&raw const self.storage).cast(), self.len)
    }

    /// The address that the kernel has filled in.
    pub(crate) fn get(&self) -> io::Result<SocketAddr> {
        let storage: *const libc::sockaddr_storage = &raw const self.storage;
        match libc::c_int::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says which type the bytes are; the storage is large enough and aligned.
                let name = unsafe { storage.cast::<libc::sockaddr_in>().read() };
                let ip = Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes());
                Ok(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(name.sin_port))))
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let name = unsafe { storage.cast::<libc::sockaddr_in6>().read() };
                let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
                let port = u16::from_be(name.sin6_port);
                Ok(SocketAddr::V6(SocketAddrV6::new(ip, port, name.sin6_flowinfo, name.sin6_scope_id)))
            }
            family => Err(io::Error::other(format!("address family {family} is neither IPv4 nor IPv6"))),
        }
    }

    /// The address that a socket is bound to.
    pub(crate) fn of_socket(socket: RawFd) -> io::Result<SocketAddr> {
        let mut raw = Self::empty();
        let (name, len) = raw.room();
        // SAFETY: both pointers are valid for writes, and `len` says how much room there is.
        check(unsafe { libc::getsockname(socket.as_raw_fd(), name, len) })?;
        raw.get()
    }
}

impl fmt::Debug for RawAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawAddress({:?})", self.get())
    }
}
