//! Administration, and what a client says when nobody is there.

use client::admin::{
    AlterOp, CommittedOffset, ConfigChange, ConfigResource, Isolation, NewTopic, OffsetSpec,
    ResourceKind, TopicRef,
};
use client::{Admin, Client, Error, Options, To, TopicPartition};
use messages::{ApiKey, ApiVersionsRequest, MetadataRequest};
use wire::ErrorCode;

use crate::{Node, run};

#[test]
fn unreachable_server_is_told_at_once_in_one_line() {
    run(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let options = Options::new(&format!("127.0.0.1:{port}")).unwrap();
        let error = Client::connect(options).await.unwrap_err();
        let expected = format!("cannot reach 127.0.0.1:{port} (connection refused)");
        assert_eq!(error.to_string(), expected);
        // The second of two that does answer is enough.
        let node = Node::start().await;
        let both = format!("127.0.0.1:{port},localhost:{}", node.port);
        Client::connect(Options::new(&both).unwrap()).await.unwrap();
        node.stop().await;
    });
}

#[test]
fn versions_are_negotiated_and_can_be_fixed() {
    run(async {
        let node = Node::start().await;
        let client = node.client(&[]).await;
        let versions = client.api_versions(1).await.unwrap();
        assert!(versions.contains_key(&(ApiKey::Fetch as i16)));
        for version in 0..=4 {
            let request = ApiVersionsRequest {
                client_software_name: if version >= 3 { "a".into() } else { String::new() },
                client_software_version: if version >= 3 { "1".into() } else { String::new() },
                ..Default::default()
            };
            let answer = client.call_version(To::Any, request, version).await.unwrap();
            assert_eq!(answer.error_code, 0);
        }
        let request = MetadataRequest { allow_auto_topic_creation: false, ..Default::default() };
        let error = client.call_version(To::Any, request, 1).await.unwrap_err();
        assert!(matches!(error, Error::Unsupported(_)), "{error}");
        // The refused request has not cost the connection.
        let all = MetadataRequest { topics: None, ..Default::default() };
        assert_eq!(client.call(To::Controller, all).await.unwrap().brokers.len(), 1);
        let error = client.api_versions(7).await.unwrap_err();
        assert_eq!(error.to_string(), "Broker 7 is not known to the cluster.");
        node.stop().await;
    });
}

#[test]
fn topics_are_made_listed_described_grown_and_removed() {
    run(async {
        let node = Node::start().await;
        let admin = Admin::new(node.client(&[]).await);
        let mut topic = NewTopic::new("letters", 3);
        topic.configs.push(("retention.ms".into(), "1000".into()));
        let checked = admin.create_topics(std::slice::from_ref(&topic), true).await.unwrap();
        assert!(checked[0].1.is_ok() && admin.list_topics().await.unwrap().is_empty());
        let made = admin
            .create_topics(&[topic.clone(), NewTopic::new("bad name", 1)], false)
            .await
            .unwrap();
        let id = made[0].1.as_ref().unwrap().id;
        assert_eq!(made[0].1.as_ref().unwrap().partitions, 3);
        let refusal = made[1].1.as_ref().unwrap_err();
        assert_eq!(
            (made[1].0.as_str(), refusal.code),
            ("bad name", ErrorCode::INVALID_TOPIC_EXCEPTION)
        );
        let again = admin.create_topics(&[topic], false).await.unwrap();
        assert_eq!(again[0].1.as_ref().unwrap_err().to_string(), "Topic 'letters' already exists.");

        let names = ["letters".to_owned(), "none".to_owned()];
        let described = admin.describe_topics(&names).await.unwrap();
        let letters = described[0].1.as_ref().unwrap();
        assert_eq!((letters.id, letters.partitions.len()), (id, 3));
        assert_eq!((letters.partitions[2].index, letters.partitions[2].leader), (2, Some(1)));
        assert_eq!(letters.partitions[0].isr, [1]);
        assert_eq!(letters.partitions[0].elr.as_deref(), Some(&[][..]));
        let code = described[1].1.as_ref().unwrap_err().code;
        assert_eq!(code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        let by_id = admin.describe_topics_by_id(&[id]).await.unwrap();
        assert_eq!(by_id[0].1.as_ref().unwrap().name, "letters");

        let grown = admin.create_partitions(&[("letters".into(), 5, None)], false).await.unwrap();
        grown[0].1.as_ref().unwrap();
        let refused = admin.create_partitions(&[("letters".into(), 4, None)], false).await.unwrap();
        assert_eq!(refused[0].1.as_ref().unwrap_err().code, ErrorCode::INVALID_PARTITIONS);
        loop {
            admin.client().refresh(Some(vec!["letters".into()]), false).await.unwrap();
            if admin.client().partitions_for("letters").await.unwrap().len() == 5 {
                break;
            }
        }

        let gone = [TopicRef::Id(id), TopicRef::Name("none".into())];
        let removed = admin.delete_topics(&gone).await.unwrap();
        removed[0].1.as_ref().unwrap();
        let code = removed[1].1.as_ref().unwrap_err().code;
        assert_eq!(code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        // Brokers of Apache Kafka hear of it a little later.
        while !admin.list_topics().await.unwrap().is_empty() {}
        node.stop().await;
    });
}

#[test]
fn configuration_is_changed_and_described() {
    run(async {
        let node = Node::start().await;
        let admin = node.topic("letters", 1).await;
        let topic = ConfigResource::new(ResourceKind::Topic, "letters");
        let broker = ConfigResource::new(ResourceKind::Broker, "1");
        let change = |name: &str, op, value: Option<&str>| ConfigChange {
            name: name.into(),
            op,
            value: value.map(str::to_owned),
        };
        let changes = [
            (topic.clone(), vec![change("retention.ms", AlterOp::Set, Some("5000"))]),
            (broker.clone(), vec![change("no.such.key", AlterOp::Set, Some("1"))]),
        ];
        let answers = admin.incremental_alter_configs(&changes, false).await.unwrap();
        assert_eq!((&answers[0].0, &answers[0].1), (&topic, &Ok(())));
        let described = admin.describe_configs(&[broker, topic.clone()], true, true).await.unwrap();
        let entries = described[1].1.as_ref().unwrap();
        let entry = entries.iter().find(|entry| entry.name == "retention.ms").unwrap();
        assert_eq!(entry.value.as_deref(), Some("5000"));
        assert_eq!(entry.source.name(), "DYNAMIC_TOPIC_CONFIG");
        assert!(!entry.synonyms.is_empty());
        assert!(described[0].1.as_ref().unwrap().iter().any(|entry| entry.name == "node.id"));
        let listed = admin.list_config_resources(&[ResourceKind::Topic]).await.unwrap();
        assert_eq!(listed, [topic]);
        node.stop().await;
    });
}

#[test]
fn cluster_directories_and_offsets_are_described() {
    run(async {
        let node = Node::start().await;
        let admin = node.topic("letters", 2).await;
        let cluster = admin.describe_cluster(true).await.unwrap();
        assert_eq!(cluster.brokers[0].broker.port, i32::from(node.port));
        // Brokers of Apache Kafka make the replicas a little later.
        let dirs = loop {
            let dirs = admin.describe_log_dirs(&[1, 9], None).await.unwrap();
            let first = dirs[0].1.as_ref().unwrap()[0].1.as_ref().unwrap();
            let replicas = first.replicas.iter().map(|one| one.partition.topic.as_str());
            match replicas.filter(|topic| *topic == "letters").count() {
                2 => break dirs,
                fewer => assert!(fewer < 2),
            }
        };
        assert!(dirs[1].1.is_err());
        let wanted = [
            (TopicPartition::new("letters", 1), OffsetSpec::Latest),
            (TopicPartition::new("letters", 7), OffsetSpec::Latest),
            (TopicPartition::new("none", 0), OffsetSpec::Earliest),
        ];
        let found = admin.list_offsets(&wanted, Isolation::ReadCommitted).await.unwrap();
        assert_eq!(found[0].1.as_ref().unwrap().offset, 0);
        for (_, answer) in &found[1..] {
            let code = answer.as_ref().unwrap_err().code;
            assert_eq!(code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        }
        let beyond = [(TopicPartition::new("letters", 0), 5)];
        let refused = admin.delete_records(&beyond).await.unwrap();
        assert_eq!(refused[0].1.as_ref().unwrap_err().code, ErrorCode::OFFSET_OUT_OF_RANGE);
        node.stop().await;
    });
}

#[test]
fn offsets_of_an_empty_group_are_set_listed_forgotten() {
    run(async {
        let node = Node::start().await;
        let admin = node.topic("letters", 2).await;
        let group = "readers".to_owned();
        let partition = |index| TopicPartition::new("letters", index);
        let offset =
            CommittedOffset { offset: 7, leader_epoch: Some(0), metadata: "by hand".into() };
        let offsets = [(partition(0), offset.clone()), (partition(1), offset.clone())];
        let answers = admin.alter_consumer_group_offsets(&group, &offsets).await.unwrap();
        assert!(answers.iter().all(|(_, answer)| answer.is_ok()), "{answers:?}");
        let all = admin.list_consumer_group_offsets(&group, None, true).await.unwrap();
        assert_eq!(all[1], (partition(1), Ok(Some(offset))));
        let listed = admin.list_groups(&[], &[]).await.unwrap();
        assert_eq!((listed[0].group_id.as_str(), listed[0].state.as_str()), ("readers", "Empty"));
        assert!(admin.list_groups(&["Stable".into()], &[]).await.unwrap().is_empty());
        let described = admin.describe_groups(std::slice::from_ref(&group)).await.unwrap();
        assert_eq!(described[0].1.as_ref().unwrap().state, "Empty");
        let removed = admin.delete_consumer_group_offsets(&group, &[partition(0)]).await.unwrap();
        removed[0].1.as_ref().unwrap();
        let both = [partition(0), partition(1)];
        let left = admin.list_consumer_group_offsets(&group, Some(&both), false).await.unwrap();
        assert!(matches!((&left[0].1, &left[1].1), (Ok(None), Ok(Some(_)))), "{left:?}");
        // The same by every version that lists by name.
        let names = [group.clone(), "nobody".to_owned()];
        let removed = admin.delete_groups(&names).await.unwrap();
        removed[0].1.as_ref().unwrap();
        assert_eq!(removed[1].1.as_ref().unwrap_err().code, ErrorCode::GROUP_ID_NOT_FOUND);
        node.stop().await;
    });
}
