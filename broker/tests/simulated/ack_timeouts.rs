//! Proves that a produce request whose acknowledgement takes longer than its client allows is answered in time, whichever
//! partitions it waits for, and however often.

use std::time::Duration;

use model::{Offset, RecordBatchBuilder};
use net::protocol::ErrorCode;
use net::protocol::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use runtime::sim::{Fault, FaultKind, OpKind};
use runtime::{Clock, Effects};

use crate::harness::{Broker, Client, in_world};
use crate::records::{create_topic, produce, produced};

#[test]
fn acknowledgements_that_take_too_long_are_told_in_time() {
    in_world(128, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let clients = world.node("client");
        let mut client = Client::connect(&clients, broker.address).await;
        create_topic(&mut client, "t", 3).await;
        assert_eq!(produce(&mut client, "t", &[0, 1, 2], -1, "v").await, Some(vec![(0, 0); 3]));
        let slow = FaultKind::Slow(Duration::from_secs(10));
        for operation in [OpKind::Write, OpKind::Sync] {
            world.disk("broker").inject(Fault::new(operation, slow).on("/t-"));
            world.disk("broker").inject(Fault::new(operation, slow).on("journal"));
        }
        let batch = RecordBatchBuilder::new(Offset(0)).record(1, None, Some(b"slow")).build();
        for (round, acks) in [(1, -1), (2, 1), (3, -1)] {
            let data = [0, 1, 2].map(|index| PartitionProduceData { index, records: Some(&batch) });
            let topics =
                [TopicProduceData { name: "t", partition_data: data[..].into(), ..Default::default() }];
            let request = ProduceRequest {
                transactional_id: None,
                acks,
                timeout_ms: 500,
                topic_data: topics[..].into(),
            };
            let before = clients.clock().now();
            client.send(9, &request).await.expect("sent");
            let answers = produced(&mut client).await.expect("an answer");
            let took = clients.clock().now().since(before);
            let late = (ErrorCode::RequestTimedOut.code(), -1);
            assert_eq!(answers, [late; 3], "round {round}");
            assert!((500..1000).contains(&took.as_millis()), "round {round}: {took:?}");
        }
        world.disk("broker").clear_faults();
        broker.stop().await;
    });
}
