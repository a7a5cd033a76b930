//! Several calls at the same moment: books in Redis take them in one script, and decide as if each had come
//! alone.

use futures_util::future::join_all;
use paygate::ledger::ResolutionKind;
use paygate::model::time::Time;
use paygate::store::{HoldRefused, Settlement, Store, StoreError};
use proptest::prelude::*;

use super::{Checked, Opened, World};
use crate::operations::Shape;

impl World {
    /// Holds that come together.
    pub(super) async fn hold_crowd(&mut self, shapes: &[Shape]) -> Checked {
        let (at, mut asked) = (self.at(), Vec::new());
        for shape in shapes {
            let Some(key) = self.key(shape.account).await? else { continue };
            self.next += 1;
            let deadline = Time::from_ms(at.ms() + shape.lasts_ms);
            asked.push((shape, deadline, self.charge(&key, shape)));
        }
        let mut local: Vec<Result<(), HoldRefused>> = Vec::new();
        for (_, deadline, (charge, _)) in &asked {
            local.push(self.local.hold(charge, at, *deadline).await);
        }
        let redis = asked.iter().map(|(_, deadline, (charge, _))| async {
            self.redis.hold(charge, at, *deadline).await
        });
        let redis = join_all(redis).await;
        prop_assert_eq!(format!("{local:?}"), format!("{redis:?}"));
        for ((shape, _, (charge, lines)), held) in asked.into_iter().zip(local) {
            if held.is_ok() {
                let (call, key, items) = (charge.call, shape.account, shape.items.len());
                let (is_parked, is_captured, ended) = (false, false, false);
                self.opened.push(Opened { call, key, items, lines, is_parked, is_captured, ended });
            }
        }
        Ok(())
    }

    /// The ends of some open calls come together. What each is shown may count the others already.
    pub(super) async fn end_crowd(&mut self, picks: &[(usize, bool)]) -> Checked {
        let at = self.at();
        let mut asked: Vec<(usize, Settlement)> = Vec::new();
        for (pick, is_paid) in picks {
            let Some(index) = self.pick(*pick, |call| !call.ended) else { return Ok(()) };
            let kind = if *is_paid { ResolutionKind::Captured } else { ResolutionKind::Released };
            let settlement = self.settlement(&self.opened[index], kind, &|_| *is_paid, None);
            asked.push((index, settlement));
        }
        let said = |ended: Result<_, StoreError>| match ended {
            Ok(_) => "ended".to_owned(),
            Err(error) => format!("{error:?}"),
        };
        let mut local = Vec::new();
        for (_, settlement) in &asked {
            local.push(said(self.local.settle(settlement.clone(), at).await));
        }
        let redis = asked
            .iter()
            .map(|(_, settlement)| async { said(self.redis.settle(settlement.clone(), at).await) });
        let redis = join_all(redis).await;
        prop_assert_eq!(&local, &redis);
        for ((index, settlement), said) in asked.into_iter().zip(local) {
            let opened = &mut self.opened[index];
            let is_ended = said == "ended";
            opened.ended |= is_ended || said == format!("{:?}", StoreError::NotOpen);
            opened.is_captured |= is_ended && settlement.kind == ResolutionKind::Captured;
        }
        Ok(())
    }
}
