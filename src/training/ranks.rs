//! Several processes that train one model: each learns from its share of every batch, and all take
//! the same step along the sum of their gradients.
//!
//! The environment says who is who, as launchers such as `torchrun` set it: `WORLD_SIZE`, `RANK`,
//! `MASTER_ADDR` and `MASTER_PORT`. On GPUs NCCL adds up; on CPUs it is done over sockets, in the
//! order of the ranks, so that all of them hold the same bits.

use std::collections::BTreeMap;
use std::env;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use candle::{DType, Device, Tensor, Var};

use super::checkpoint::Identity;
use super::gradients::Gradients;
use super::stage::Stage;
use crate::nn::{Parameters, is_statistic};
use crate::{Error, Result, files};

/// How long a process waits for the others to appear.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long it waits for the others' share of a step.
const STEP_PATIENCE: Duration = Duration::from_secs(1800);

/// One process among those that train together.
#[derive(Debug)]
pub struct Ranks {
    rank: usize,
    size: usize,
    link: Link,
}

#[derive(Debug)]
enum Link {
    /// To all others on rank 0, in their order; to rank 0 on the others.
    Sockets(Mutex<Vec<TcpStream>>),
    #[cfg(feature = "nccl")]
    Nccl(crate::cuda::Nccl),
}

impl Ranks {
    /// Meets the other processes that the environment tells of; `None` where it tells of none.
    pub fn from_env(device: &Device) -> Result<Option<Self>> {
        let number = |name: &str| -> Result<Option<usize>> {
            let Ok(text) = env::var(name) else { return Ok(None) };
            let wrong = || Error::value(name, format!("found {text:?}, expected a number"));
            text.parse().map(Some).map_err(|_| wrong())
        };
        let size = number("WORLD_SIZE")?.unwrap_or(1);
        if size < 2 {
            return Ok(None);
        }
        let why = format!("found none beside WORLD_SIZE={size}, expected 0 to {}", size - 1);
        let rank = number("RANK")?.ok_or_else(|| Error::value("RANK", why))?;
        let host = env::var("MASTER_ADDR").unwrap_or("127.0.0.1".to_owned());
        let port = number("MASTER_PORT")?.unwrap_or(29500);
        Self::meet(rank, size, &format!("{host}:{port}"), device).map(Some)
    }

    /// Meets `size` − 1 other processes; the one of rank 0 listens at `address`.
    pub fn meet(rank: usize, size: usize, address: &str, device: &Device) -> Result<Self> {
        if rank >= size {
            let why = format!("found {rank}, expected less than WORLD_SIZE={size}");
            return Err(Error::value("RANK", why));
        }
        let streams = if rank == 0 { welcome(size, address) } else { join(rank, address) };
        let streams =
            streams.map_err(|source| Error::io(format!("rank {rank} at {address}"), source))?;
        let sockets = Self { rank, size, link: Link::Sockets(Mutex::new(streams)) };
        match device {
            Device::Cpu => Ok(sockets),
            #[cfg(feature = "nccl")]
            device => {
                let id = sockets.shared_id()?;
                let link = Link::Nccl(crate::cuda::Nccl::new(rank, size, id, device)?);
                Ok(Self { rank, size, link })
            }
            #[cfg(not(feature = "nccl"))]
            _ => {
                let why = "several processes on GPUs need NCCL, which this build leaves out";
                Err(Error::Training(why.to_owned()))
            }
        }
    }

    /// The number of this process.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many processes there are.
    pub fn size(&self) -> usize {
        self.size
    }

    /// What NCCL tells its groups apart by: made by rank 0 and passed on by adding zeros.
    #[cfg(feature = "nccl")]
    fn shared_id(&self) -> Result<[u8; 128]> {
        let own = if self.rank == 0 { crate::cuda::Nccl::new_id()? } else { [0; 128] };
        let numbers = own.iter().map(|byte| f32::from(*byte)).collect();
        let sums = self.sum(&Tensor::from_vec::<_, f32>(numbers, 128, &Device::Cpu)?)?;
        let sums = sums.to_vec1::<f32>()?;
        Ok(std::array::from_fn(|i| sums[i] as u8))
    }

    /// Refuses a stage whose batches have no equal shares, and processes that differ.
    pub(super) fn check(&self, stage: &Stage, identity: &Identity, device: &Device) -> Result<()> {
        let (least, size) = (if stage.objective.compares() { 2 } else { 1 }, self.size);
        if !stage.batch_size.is_multiple_of(size) || stage.batch_size / size < least {
            let why = format!(
                "found {}, expected a multiple of {size} processes with {least} or more films each",
                stage.batch_size
            );
            return Err(Error::config("stage.batch_size", why));
        }
        let all = [&identity.stage, &identity.model, &identity.data].map(String::as_str).concat();
        self.agree(&files::sha256_hex(all.as_bytes()), device)
    }

    /// The number of a pass, such that processes draw different values to omit.
    pub(super) fn own_pass(&self, pass: u64) -> u64 {
        pass * self.size as u64 + self.rank as u64
    }

    /// The rows of a batch that this process learns from.
    pub(super) fn share(&self, batch: &[usize]) -> Vec<usize> {
        batch.iter().copied().skip(self.rank).step_by(self.size).collect()
    }

    /// Fails unless all processes hold what `fingerprint` (hexadecimal) stands for.
    fn agree(&self, fingerprint: &str, device: &Device) -> Result<()> {
        // As much of it as a sum of many float32 keeps exactly.
        let own = u16::from_str_radix(fingerprint.get(..4).unwrap_or_default(), 16);
        let own = f32::from(own.unwrap_or_default());
        let sums =
            self.sum(&Tensor::new(&[own, own * own / 65536.0], device)?)?.to_vec1::<f32>()?;
        let (mean, square) = (sums[0] / self.size as f32, sums[1] / self.size as f32);
        let close = |found: f32, wanted: f32| (found - wanted).abs() <= 1e-5 * wanted;
        if close(mean, own) && close(square, own * own / 65536.0) {
            return Ok(());
        }
        let why = "the processes hold different models or data; start them with the same ones";
        Err(Error::Training(why.to_owned()))
    }

    /// Adds up what the micro-batches of one step gave on all processes.
    pub(super) fn gather(&self, own: &Gradients, learning: &[(String, Var)]) -> Result<Gradients> {
        let mut flat = Vec::with_capacity(learning.len() + 1);
        for (name, var) in learning {
            flat.push(match own.sums.get(name) {
                Some(sum) => sum.flatten_all()?.to_dtype(DType::F32)?,
                // A process whose films all failed adds nothing.
                None => Tensor::zeros(var.elem_count(), DType::F32, var.device())?,
            });
        }
        let Some((_, var)) = learning.first() else { return Ok(Gradients::default()) };
        let counts = [own.loss as f32, own.films as f32, own.parts as f32];
        flat.push(Tensor::new(&counts, var.device())?);
        let total = self.sum(&Tensor::cat(&flat, 0)?)?;
        let mut sums = BTreeMap::new();
        let mut start = 0;
        for (name, var) in learning {
            let sum = total.narrow(0, start, var.elem_count())?.reshape(var.shape())?;
            sums.insert(name.clone(), sum);
            start += var.elem_count();
        }
        let counts = total.narrow(0, start, 3)?.to_vec1::<f32>()?;
        let [loss, films, parts] = [counts[0], counts[1], counts[2]];
        Ok(Gradients { sums, loss: f64::from(loss), films: films as usize, parts: parts as usize })
    }

    /// Puts the mean over all processes in place of running statistics: each moved its own along
    /// its own share.
    pub(super) fn level(&self, parameters: &Parameters) -> Result<()> {
        let all = parameters.all().into_iter().filter(|(name, _)| is_statistic(name));
        let all: Vec<Var> = all.map(|(_, var)| var).collect();
        if all.is_empty() {
            return Ok(());
        }
        let flat: Vec<Tensor> = all.iter().map(Var::as_detached_tensor).collect();
        let mean = (self.sum(&Tensor::cat(&flat, 0)?)? / self.size as f64)?;
        let mut start = 0;
        for var in all {
            var.set(&mean.narrow(0, start, var.elem_count())?)?;
            start += var.elem_count();
        }
        Ok(())
    }

    /// The sum over all processes of `numbers`, float32 in one row.
    fn sum(&self, numbers: &Tensor) -> Result<Tensor> {
        match &self.link {
            Link::Sockets(streams) => {
                let own = numbers.to_vec1::<f32>()?;
                let mut streams = streams.lock().unwrap_or_else(PoisonError::into_inner);
                let total = total(self.rank, &mut streams, own).map_err(|source| {
                    Error::io(format!("rank {} lost the others", self.rank), source)
                })?;
                Ok(Tensor::from_vec(total, numbers.shape(), numbers.device())?)
            }
            #[cfg(feature = "nccl")]
            Link::Nccl(group) => group.sum(numbers),
        }
    }
}

/// Whether this process writes: the only one, or the first of several.
pub(super) fn leads(ranks: Option<&Arc<Ranks>>) -> bool {
    ranks.is_none_or(|ranks| ranks.rank() == 0)
}

/// Waits at `address` for all others, and puts them in order.
fn welcome(size: usize, address: &str) -> std::io::Result<Vec<TcpStream>> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let mut streams: Vec<Option<TcpStream>> = (1..size).map(|_| None).collect();
    let start = Instant::now();
    while streams.iter().any(Option::is_none) {
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.set_nonblocking(false)?;
                settle(&stream)?;
                let mut rank = [0; 8];
                stream.read_exact(&mut rank)?;
                let rank = u64::from_le_bytes(rank) as usize;
                let place = rank.checked_sub(1).and_then(|i| streams.get_mut(i));
                let place = place.filter(|place| place.is_none()).ok_or_else(|| {
                    std::io::Error::other(format!("RANK={rank} came twice or is out of range"))
                })?;
                *place = Some(stream);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let missing = streams.iter().filter(|stream| stream.is_none()).count();
                late(start, || format!("{missing} of {size} processes did not come"))?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(streams.into_iter().flatten().collect())
}

/// Reports to rank 0, which may not be there yet.
fn join(rank: usize, address: &str) -> std::io::Result<Vec<TcpStream>> {
    let start = Instant::now();
    loop {
        match TcpStream::connect(address) {
            Ok(mut stream) => {
                settle(&stream)?;
                stream.write_all(&(rank as u64).to_le_bytes())?;
                return Ok(vec![stream]);
            }
            Err(error) => late(start, || format!("rank 0 does not answer: {error}"))?,
        }
    }
}

fn settle(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STEP_PATIENCE))?;
    stream.set_write_timeout(Some(STEP_PATIENCE))
}

/// Waits a little, or gives up.
fn late(start: Instant, why: impl Fn() -> String) -> std::io::Result<()> {
    if start.elapsed() > PATIENCE {
        return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, why()));
    }
    std::thread::sleep(Duration::from_millis(50));
    Ok(())
}

/// Adds up on rank 0, in the order of ranks, and hands the sum to all.
fn total(rank: usize, streams: &mut [TcpStream], mut own: Vec<f32>) -> std::io::Result<Vec<f32>> {
    let mut bytes = vec![0u8; own.len() * size_of::<f32>()];
    if rank > 0 {
        write(&own, &mut bytes);
        for stream in streams {
            stream.write_all(&bytes)?;
            stream.read_exact(&mut bytes)?;
        }
        let numbers = bytes.as_chunks::<4>().0;
        own.iter_mut().zip(numbers).for_each(|(own, sum)| *own = f32::from_le_bytes(*sum));
        return Ok(own);
    }
    for stream in streams.iter_mut() {
        stream.read_exact(&mut bytes)?;
        let numbers = bytes.as_chunks::<4>().0;
        own.iter_mut().zip(numbers).for_each(|(own, x)| *own += f32::from_le_bytes(*x));
    }
    write(&own, &mut bytes);
    for stream in streams {
        stream.write_all(&bytes)?;
    }
    Ok(own)
}

fn write(numbers: &[f32], bytes: &mut [u8]) {
    let places = bytes.as_chunks_mut::<4>().0;
    numbers.iter().zip(places).for_each(|(number, place)| *place = number.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::RunOptions;
    use super::super::tests::{model, stage, train};
    use super::*;

    /// Where nobody listens yet.
    fn free_address() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    }

    #[test]
    fn all_ranks_get_the_sum_and_every_row_has_one_reader() {
        let address = free_address();
        let run = |rank: usize| {
            let ranks = Ranks::meet(rank, 3, &address, &Device::Cpu).unwrap();
            let own = Tensor::new(&[rank as f32, 1.0], &Device::Cpu).unwrap();
            let sum = ranks.sum(&own).unwrap().to_vec1::<f32>().unwrap();
            ranks.agree("abcdef", &Device::Cpu).unwrap();
            let other = if rank == 1 { "1234" } else { "abcd" };
            (sum, ranks.share(&[5, 6, 7, 8]), ranks.agree(other, &Device::Cpu).is_err())
        };
        let run = &run;
        let found: Vec<_> = std::thread::scope(|scope| {
            let ranks: Vec<_> = (0..3).map(|rank| scope.spawn(move || run(rank))).collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
        });
        let shares = [vec![5, 8], vec![6], vec![7]];
        for ((sum, share, differs), expected) in found.into_iter().zip(shares) {
            assert_eq!((sum, share, differs), (vec![3.0, 3.0], expected, true));
        }
    }

    #[test]
    fn a_rank_that_cannot_be_is_named() {
        let error = Ranks::meet(2, 2, "127.0.0.1:1", &Device::Cpu).unwrap_err().to_string();
        assert_eq!(error, "RANK: found 2, expected less than WORLD_SIZE=2");
    }

    #[test]
    fn two_processes_take_the_steps_of_one_with_the_whole_batch() {
        // Without what depends on the batch as a whole (its statistics) or on the process (dropout).
        let stage = Stage { train: vec!["head.*".to_owned()], ..stage("supervised") };
        let run = |ranks: Option<Arc<Ranks>>| {
            let mut model = model();
            let options = RunOptions { ranks, ..RunOptions::default() };
            let history = train(&mut model, &stage, &options).unwrap();
            let losses: Vec<f64> = history.steps.iter().map(|row| row.loss).collect();
            let head = model.parameters().get("head.weight").unwrap();
            (losses, head.flatten_all().unwrap().to_vec1::<f32>().unwrap())
        };
        let (losses, alone) = run(None);
        let address = free_address();
        let together =
            |rank| run(Some(Arc::new(Ranks::meet(rank, 2, &address, &Device::Cpu).unwrap())));
        let (first, second) = std::thread::scope(|scope| {
            let second = scope.spawn(|| together(1));
            (together(0), second.join().unwrap())
        });
        assert_eq!(first, second, "all processes hold the same bits");
        for (one, two) in losses.iter().zip(&first.0) {
            assert!((one - two).abs() < 1e-5, "{losses:?} {:?}", first.0);
        }
        for (one, two) in alone.iter().zip(&first.1) {
            assert!((one - two).abs() < 1e-5, "{one} {two}");
        }
    }
}
