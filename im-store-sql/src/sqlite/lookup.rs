//! What a batch must know before it is decided: conversations, and earlier sends under its ids.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use im_core::model::{CmId, ConversationId, UserId};
use im_core::port::Commit;
use im_core::rule::commit::appends;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, Row};

use super::statement::{ROWS_MAX, TEXTS};
use super::tail::Novelty;
use super::work::{Touched, Work, sent_key};
use super::writer::{Broken, Writer};
use super::{Shared, rows};

impl Shared {
    /// What the batch must know: the conversations that exist, and earlier sends under its ids.
    pub(super) async fn load(
        &self,
        writer: &mut Writer,
        batch: &[Commit],
        work: &mut Work,
    ) -> Result<(), Broken> {
        let mut missing: HashSet<&ConversationId> = HashSet::new();
        {
            let tail = self.tail.lock();
            for commit in batch {
                if work.touched.contains_key(&commit.conv) {
                    continue;
                }
                match tail.get(&commit.conv) {
                    Some(known) => {
                        let touched = Touched {
                            no: known.no,
                            conversation: known.conversation.clone(),
                            stamp: known.stamp,
                            new: Vec::new(),
                            erased: Vec::new(),
                        };
                        work.touched.insert(commit.conv.clone(), touched);
                    }
                    None => {
                        missing.insert(&commit.conv);
                    }
                }
            }
        }
        let missing: Vec<_> = missing.into_iter().collect();
        for chunk in missing.chunks(ROWS_MAX) {
            let (text, _) = TEXTS.conversations.of(chunk.len());
            let mut arguments = SqliteArguments::default();
            for conv in chunk {
                arguments.add(conv.as_str()).map_err(sqlx::Error::Encode)?;
            }
            let found = sqlx::query_with(text, arguments)
                .fetch_all(&mut writer.conn)
                .await?;
            for row in &found {
                let (no, conversation, stamp) = rows::conversation(row)?;
                let id = conversation.id.clone();
                work.touched.insert(
                    id,
                    Touched {
                        no,
                        conversation,
                        stamp,
                        new: Vec::new(),
                        erased: Vec::new(),
                    },
                );
            }
        }
        self.probe(writer, batch, work).await
    }

    /// Looks up earlier sends in the index, all of the batch at once: those whose ids are not
    /// larger than any before. What is in the tail is found there.
    async fn probe(
        &self,
        writer: &mut Writer,
        batch: &[Commit],
        work: &mut Work,
    ) -> Result<(), Broken> {
        let mut asked = Vec::new();
        let mut strangers = BTreeMap::new();
        {
            let tail = self.tail.lock();
            for commit in batch {
                // Nothing was sent yet where nothing is.
                let touched = work.touched.get(&commit.conv);
                let Some(touched) = touched.filter(|it| it.conversation.head.0 > 0) else {
                    continue;
                };
                for key in appends(commit).filter_map(|entry| sent_key(touched.no, entry)) {
                    match tail.novelty(&key) {
                        Novelty::New => {}
                        Novelty::MaybeSent => asked.push(key),
                        Novelty::UnknownSender => {
                            strangers.insert((key.0, key.1.clone()), commit.conv.clone());
                            asked.push(key);
                        }
                    }
                }
            }
        }
        self.meet(writer, strangers).await?;
        for chunk in asked.chunks(ROWS_MAX) {
            let mut arguments = SqliteArguments::default();
            for (no, user, cm_id) in chunk {
                bind_key(&mut arguments, *no, user, Some(cm_id)).map_err(sqlx::Error::Encode)?;
            }
            let (sql, _) = TEXTS.probe.of(chunk.len());
            let found = sqlx::query_with(sql, arguments)
                .fetch_all(&mut writer.conn)
                .await?;
            for row in &found {
                let conv = rows::conv_id(row, 12)?;
                let entry = rows::entry(&conv, row, 1)?;
                let key = sent_key(row.try_get(0)?, &entry);
                work.sent.extend(key.map(|key| (key, Arc::new(entry))));
            }
        }
        Ok(())
    }

    /// Learns the largest ids of senders who have not sent lately.
    async fn meet(
        &self,
        writer: &mut Writer,
        strangers: BTreeMap<(i64, UserId), ConversationId>,
    ) -> Result<(), Broken> {
        let strangers: Vec<_> = strangers.into_iter().collect();
        for chunk in strangers.chunks(ROWS_MAX) {
            let mut arguments = SqliteArguments::default();
            for ((no, user), _) in chunk {
                bind_key(&mut arguments, *no, user, None).map_err(sqlx::Error::Encode)?;
            }
            let sql = TEXTS.newest.of(chunk.len()).0;
            let found = sqlx::query_with(sql, arguments)
                .fetch_all(&mut writer.conn)
                .await?;
            let mut newest = BTreeMap::new();
            for row in &found {
                let cm_id: Option<&str> = row.try_get(2)?;
                let cm_id = cm_id.and_then(|id| CmId::new(id).ok());
                newest.insert((row.try_get::<i64, _>(0)?, rows::user(row, 1)?), cm_id);
            }
            let mut tail = self.tail.lock();
            for (key, conv) in chunk {
                let indexed = newest.remove(key).flatten();
                tail.learn_newest(conv, key.0, key.1.clone(), indexed);
            }
        }
        Ok(())
    }
}

fn bind_key(
    to: &mut SqliteArguments,
    no: i64,
    user: &UserId,
    cm_id: Option<&CmId>,
) -> Result<(), sqlx::error::BoxDynError> {
    to.add(no)?;
    to.add(Arc::<str>::from(user))?;
    if let Some(cm_id) = cm_id {
        to.add(Arc::<str>::from(cm_id))?;
    }
    Ok(())
}
